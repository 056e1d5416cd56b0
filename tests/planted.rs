//! Whether the suites find what is planted: every bug at the ports, by name, and none where there
//! is none.

use std::sync::Once;
use std::time::Duration;

use streamgate::domain::{ExpectedVersion, Version};
use streamgate::store::EventStore;
use streamgate::testing::builders::{append, events, header, object, range, stream_id};
use streamgate::testing::conformance::documents::DocumentsSubject;
use streamgate::testing::conformance::store::StoreSubject;
use streamgate::testing::conformance::{Case, documents, store};
use streamgate::testing::planted::{DocumentBug, PlantedDocuments, PlantedStore, StoreBug};

/// Much longer than any case takes; a bug may also keep one from ending.
const CASE_TIME_MAX: Duration = Duration::from_secs(60);

static QUIET: Once = Once::new();

/// A found bug panics, a page each, on the threads of the runtime. Only that it is found matters;
/// what a test itself finds wrong is told on its own thread.
fn tell_panics_of_tests_only() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let name = std::thread::current().name().map(str::to_owned);
        if !name.is_some_and(|name| name.starts_with("tokio-")) {
            tell(panic);
        }
    }));
}

/// Runs every case over a subject of its own; the names of those that fail.
async fn failing<S: 'static>(cases: &[Case<S>], subject: impl Fn() -> S) -> Vec<&'static str> {
    QUIET.call_once(tell_panics_of_tests_only);
    let mut failing = Vec::new();
    for case in cases {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn((case.run)(subject()));
        let ended = tokio::time::timeout(CASE_TIME_MAX, tasks.join_next()).await;
        if !matches!(ended, Ok(Some(Ok(())))) {
            failing.push(case.name);
        }
    }
    failing
}

/// The case that stands for the promise that each bug breaks.
fn finder_of(bug: StoreBug) -> &'static str {
    match bug {
        StoreBug::CloseAtAnyHead => "close_at_any_other_head_is_a_conflict",
        StoreBug::IdsOutsideTheAppend => "concurrent_repeats_of_one_append_land_once",
        StoreBug::PositionBeforeIds => "ids_come_before_the_expected_version",
        StoreBug::AnyBehindTheClose | StoreBug::PlaceBehindTheClose => {
            "no_append_after_a_close_in_any_mode_at_any_version"
        }
        StoreBug::RemovalFreesThePlaces => "no_append_after_a_removal_in_any_mode_at_any_version",
        StoreBug::RemovalFreesTheId => "a_removed_id_stays_taken",
        StoreBug::BatchInPieces => "a_refused_batch_leaves_nothing",
        StoreBug::AnyMaker => "append_by_another_maker_is_refused",
        StoreBug::TimeFalls => "recorded_at_never_decreases",
        StoreBug::AnswerBeforeSync => "what_was_answered_survives_a_crash",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_without_a_bug_fails_no_case() {
    let found = failing(store::CASES, || StoreSubject::new(PlantedStore::new(None))).await;
    assert_eq!(found, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_bug_of_a_store_is_found_by_the_case_of_its_promise() {
    for bug in StoreBug::WHILE_IT_RUNS {
        let planted = || StoreSubject::new(PlantedStore::new(Some(bug)));
        let found = failing(store::CASES, planted).await;
        println!("{bug:?}: found by {}", found.join(", "));
        assert!(found.contains(&finder_of(bug)), "{bug:?} was found by {found:?} alone");
    }
}

/// The race finds what it is for without the help of the small cases.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_race_against_the_close_finds_what_gets_in_behind_it() {
    const RACE: &str = "appends_racing_the_close_are_copied_or_refused";
    let race: Vec<Case<StoreSubject>> = store::CASES
        .iter()
        .filter(|case| case.name == RACE)
        .map(|case| Case { name: case.name, run: case.run })
        .collect();
    for bug in
        [StoreBug::CloseAtAnyHead, StoreBug::AnyBehindTheClose, StoreBug::PlaceBehindTheClose]
    {
        let planted = || StoreSubject::new(PlantedStore::new(Some(bug)));
        assert_eq!(failing(&race, planted).await, [RACE], "{bug:?} was not found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn documents_without_a_bug_fail_no_case() {
    let planted = || DocumentsSubject::new(PlantedDocuments::new(None));
    assert_eq!(failing(documents::CASES, planted).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_bug_of_a_document_store_is_found_by_the_case_of_its_promise() {
    for bug in DocumentBug::ALL {
        let finder = match bug {
            DocumentBug::NoCompareAndSet => "a_put_is_done_only_on_the_state_it_names",
            DocumentBug::CheckThenPut => "racing_replacements_lose_no_count",
            DocumentBug::EtagOfTheBody => "etags_never_repeat_across_delete_and_write",
            DocumentBug::PagesOverlap => "a_listing_in_pages_returns_each_document_once",
        };
        let planted = || DocumentsSubject::new(PlantedDocuments::new(Some(bug)));
        let found = failing(documents::CASES, planted).await;
        println!("{bug:?}: found by {}", found.join(", "));
        assert!(found.contains(&finder), "{bug:?} was found by {found:?} alone");
    }
}

/// Appends, pulls the plug after each answer, and looks for what was answered.
async fn what_was_answered_survives_a_crash(store: &PlantedStore) -> bool {
    let stream = stream_id("Order/1/0000000000");
    store.create(&stream, &header(&object("1"))).await.expect("the id is new");
    for number in 0..10 {
        let batch = events(number..number + 1);
        let Ok(appended) = store.append(&stream, append(ExpectedVersion::Any, batch)).await else {
            return false;
        };
        assert_eq!(appended.first, Version(number));
        store.crash();
        let held = store.read(&stream, range(0)).await.map(|page| page.events);
        if !held.is_ok_and(|held| held == events(0..number + 1)) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn an_append_answered_before_the_sync_is_found() {
    assert!(what_was_answered_survives_a_crash(&PlantedStore::new(None)).await);
    let planted = PlantedStore::new(Some(StoreBug::AnswerBeforeSync));
    assert!(!what_was_answered_survives_a_crash(&planted).await);
}
