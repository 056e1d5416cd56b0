//! Browsers: which pages may call, and what they may see of an answer.
//!
//! A browser cannot speak gRPC. It speaks gRPC-web over HTTP/1.1 or HTTP/2, which a layer turns
//! into gRPC in front of everything else, so that it meets the same bounds and the same errors.
//! Whether a page may read an answer is decided by its browser, by the headers made here.

use std::time::Duration;

use tonic::codegen::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::scope::REQUEST_ID_HEADER;

/// Every page may call.
const ANY: &str = "*";

/// What pages may read of an answer beside its body. Without the first three they would know of
/// an error only that there was one.
const EXPOSED: [HeaderName; 5] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-retry-pushback-ms"),
    HeaderName::from_static(REQUEST_ID_HEADER),
];

/// How long a browser need not ask again whether it may call.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(3600);

/// The headers for pages of these origins; none when there are none.
pub(super) fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == ANY) {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST])
        // Nobody is let in by a cookie, so any header may come.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_AGE_MAX)
        .vary([header::ORIGIN]);
    Some(cors)
}

/// What is wrong with an origin of the settings.
pub(super) fn origin_fault(origin: &str) -> Option<&'static str> {
    let problem = "must be an origin as browsers send it, such as http://localhost:8080, or *";
    if origin == ANY {
        return None;
    }
    let Some((scheme, host)) = origin.split_once("://") else { return Some(problem) };
    let is_scheme = matches!(scheme, "http" | "https");
    let is_host = !host.is_empty()
        && host.bytes().all(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' | b'[' | b']'),
        );
    (!is_scheme || !is_host).then_some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port_at_most() {
        for origin in ["*", "http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:80"] {
            assert_eq!(origin_fault(origin), None, "{origin}");
        }
        for origin in ["", "app.example.com", "https://", "https://a/", "https://A", "ftp://a"] {
            assert!(origin_fault(origin).is_some(), "{origin}");
        }
    }
}
