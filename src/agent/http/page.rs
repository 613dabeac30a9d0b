//! The status page: one document that contains its style sheet and scripts.

use hyper::{
    Response, StatusCode,
    header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS},
};
use rand::{TryRng as _, rngs::SysRng};

use super::answer::{Body, answer, refusal, whole};

/// `/`. Needs no token, because the document contains no data: its script requests the data with
/// the token that the user enters.
pub(super) fn page() -> Response<Body> {
    let mut random = [0; 16];
    if SysRng.try_fill_bytes(&mut random).is_err() {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the system has no random bytes");
    }
    let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let Ok(policy) = HeaderValue::from_str(&policy(&nonce)) else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "no security policy for the page");
    };
    let mut response = answer(StatusCode::OK, HTML, whole(document(&nonce)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn document(nonce: &str) -> String {
    let (css, js) = (include_str!("page/status.css"), include_str!("page/status.js"));
    let html = include_str!("page/status.html").replace("@NONCE@", nonce);
    let map = include_str!("page/map.js");
    html.replace("@CSS@", css).replace("@JS@", js).replace("@MAP@", map)
}

/// The content security policy: only the document's own scripts run, nothing else is loaded, and
/// they connect only to this agent. Trusted types prevent texts from the cluster from becoming
/// markup.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

const HTML: &str = "text/html; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_no_two_have_the_same_nonce() {
        let policies = [page(), page()]
            .map(|page| page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned());
        assert_ne!(policies[0], policies[1]);
        let document = document("0123");
        for mark in
            ["@NONCE@", "@CSS@", "@JS@", "@MAP@", "http://", "https://", "innerHTML", "style=\""]
        {
            assert!(!document.contains(mark), "{mark}");
        }
        assert_eq!(document.matches("nonce=\"0123\"").count(), 2);
        assert!(document.contains("prefers-color-scheme") && document.contains("\"use strict\""));
    }
}
