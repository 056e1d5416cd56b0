//! Whether a request is signed by the account key, as the service's REST interface asks for.

use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

/// The signature covers the verb, the kind of resource, its link and the date.
pub(crate) fn is_signed(parts: &Parts, key: &Secret) -> bool {
    let header = |name: &str| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let (kind, link) = resource(&path);
    let verb = parts.method.as_str().to_lowercase();
    let date = header("x-ms-date").to_lowercase();
    let to_sign = format!("{verb}\n{kind}\n{link}\n{date}\n\n");
    let given = percent_decode_str(header("authorization")).decode_utf8_lossy().into_owned();
    hmac_sha256(&to_sign, key)
        .is_ok_and(|signature| given == format!("type=master&ver=1.0&sig={signature}"))
}

/// A path names a resource, or the feed of a kind of resources below one.
fn resource(path: &str) -> (&str, String) {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.len() {
        0 => ("", String::new()),
        odd if odd % 2 == 1 => (segments[odd - 1], segments[..odd - 1].join("/")),
        even => (segments[even - 2], segments.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_signed_for_its_parent_and_an_item_for_itself() {
        assert_eq!(resource("/"), ("", String::new()));
        assert_eq!(resource("/dbs"), ("dbs", String::new()));
        assert_eq!(resource("/dbs/a"), ("dbs", "dbs/a".into()));
        assert_eq!(resource("/dbs/a/colls/b/docs"), ("docs", "dbs/a/colls/b".into()));
    }
}
