//! The portal: one page and what it loads, out of the binary. It loads nothing from anywhere else and asks nobody but this bridge.

use super::problem::Problem;
use super::{Api, Segments, Surfaces};
use crate::surface::Surface;
use axum::Router;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Name, octets, and the same packed (RFC 1952).
type File = (&'static str, &'static [u8], &'static [u8]);

/// As `scripts/portal` has built them.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/portal.rs"));

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The page's routes.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .surface(Surface::Portal, get(|headers: HeaderMap| async move { file("index.html", &headers) }))
        .surface(
            Surface::PortalAsset,
            get(|Segments(name): Segments<String>, headers: HeaderMap| async move { file(&name, &headers) }),
        )
}

/// A page with something in it that is this house's own. Made once, it lasts as long as the process.
pub(super) fn page(
    name: &str,
    told: &[(&str, String)],
) -> impl Fn() -> std::future::Ready<Response> + Clone + Send + Sync + 'static + use<> {
    let plain = FILES.iter().find(|(n, ..)| *n == name).map_or(&[][..], |(_, plain, _)| plain);
    let mut text = String::from_utf8_lossy(plain).into_owned();
    for (place, what) in told {
        text = text.replace(place, what);
    }
    let text: &'static str = text.leak();
    move || std::future::ready((said_with("text/html; charset=utf-8", "no-store"), text).into_response())
}

fn said_with(kind: &'static str, keep: &'static str) -> [(header::HeaderName, &'static str); 6] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, keep),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "Accept-Encoding"),
    ]
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((name, plain, packed)) = FILES.iter().find(|(n, ..)| *n == name) else {
        return Problem::NOT_FOUND.into_response();
    };
    let (kind, keep) = match name.rsplit('.').next() {
        Some("html") => ("text/html; charset=utf-8", "no-cache"),
        // Their names change with what is in them.
        Some("js") => ("text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        Some("css") => ("text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        _ => ("application/octet-stream", "no-cache"),
    };
    let takes_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|e| e.trim().split(';').next() == Some("gzip")));
    let all = said_with(kind, keep);
    if takes_gzip {
        return (all, [(header::CONTENT_ENCODING, "gzip")], *packed).into_response();
    }
    (all, *plain).into_response()
}
