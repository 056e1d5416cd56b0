//! A status of each origin, and what the client makes of it.

use tonic_types::ErrorDetails;

use super::*;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

fn from_server(code: Code, reason: &str, wait: Option<Duration>) -> Status {
    let metadata = [("actual".to_owned(), "4".to_owned())];
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    if wait.is_some() {
        details.set_retry_info(wait);
    }
    Status::with_error_details(code, "words", details)
}

#[test]
fn the_reason_decides_and_not_the_code() {
    let status = from_server(Code::Aborted, "WRONG_EXPECTED_VERSION", None);
    let verdict = Verdict::of(&status, Effect::Writes);
    assert_eq!(verdict.class, ErrorClass::Conflict);
    assert_eq!(verdict.metadata["actual"], "4");
    assert!(!verdict.may_be_repeated());
    let text = verdict.text();
    for part in ["WRONG_EXPECTED_VERSION", "words", "actual = 4", "next: Read again"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn an_unknown_reason_falls_back_to_its_code() {
    let status = from_server(Code::Unavailable, "BRAND_NEW", None);
    let verdict = Verdict::of(&status, Effect::Writes);
    assert_eq!((verdict.class, verdict.reason.as_str()), (ErrorClass::Unavailable, "BRAND_NEW"));
    assert!(verdict.may_be_repeated());
}

#[test]
fn unavailable_means_not_done_only_by_our_word() {
    let ours = from_server(Code::Unavailable, "STORE_UNAVAILABLE", None);
    assert_eq!(Verdict::of(&ours, Effect::Writes).class, ErrorClass::Unavailable);
    let foreign = Status::unavailable("upstream connect error");
    assert_eq!(Verdict::of(&foreign, Effect::Writes).class, ErrorClass::OutcomeUnknown);
    assert_eq!(Verdict::of(&foreign, Effect::Reads).class, ErrorClass::Unavailable);
}

#[test]
fn delays_come_from_both_places_and_the_longer_holds() {
    let wait = Some(Duration::from_millis(250));
    let mut status = from_server(Code::Unavailable, "CUTOVER_IN_PROGRESS", wait);
    assert_eq!(Verdict::of(&status, Effect::Writes).retry_after, wait);
    let pushed = "400".parse().unwrap();
    status.metadata_mut().insert("grpc-retry-pushback-ms", pushed);
    let verdict = Verdict::of(&status, Effect::Writes);
    assert_eq!(verdict.retry_after, Some(Duration::from_millis(400)));
    assert!(verdict.may_be_repeated());
}

#[test]
fn a_negative_push_back_ends_the_repeats() {
    let mut status = from_server(Code::Unavailable, "STORE_UNAVAILABLE", None);
    status.metadata_mut().insert("grpc-retry-pushback-ms", "-1".parse().unwrap());
    assert!(!Verdict::of(&status, Effect::Writes).may_be_repeated());
}

#[test]
fn running_out_of_time_keeps_what_the_server_was_sure_of() {
    let second = Duration::from_secs(1);
    let status = from_server(Code::Unavailable, "STORE_UNAVAILABLE", None);
    let sure = Verdict::of(&status, Effect::Writes);
    let kept = Verdict::out_of_time(second, Effect::Writes, Some(sure));
    assert_eq!(kept.reason, "STORE_UNAVAILABLE");
    let none = Verdict::out_of_time(second, Effect::Writes, None);
    assert_eq!(none.class, ErrorClass::OutcomeUnknown);
    let read = Verdict::out_of_time(second, Effect::Reads, None);
    assert_eq!(read.class, ErrorClass::TimedOut);
}

#[test]
fn an_error_is_one_json_object_with_its_exit_code() {
    let status = from_server(Code::Aborted, "WRONG_EXPECTED_VERSION", None);
    let failure = Failure::from(Verdict::of(&status, Effect::Writes));
    assert_eq!(failure.exit(), Exit::Refused);
    let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
    assert_eq!(json["error"]["reason"], "WRONG_EXPECTED_VERSION");
    assert_eq!(json["error"]["metadata"]["actual"], "4");
    assert_eq!(json["error"]["exit_code"], 73);
    assert_eq!(json["error"]["class"], "conflict");
}

#[test]
fn every_reason_of_the_interface_has_something_to_do_next() {
    for reason in Reason::ALL {
        let verdict = Verdict::of(&from_server(Code::Ok, reason.as_str(), None), Effect::Reads);
        assert_eq!((verdict.class, verdict.origin), (reason.class(), Origin::Server));
        assert!(verdict.next().ends_with('.'), "{reason}");
    }
}
