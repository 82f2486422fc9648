//! HTTP to servers of others: one client for webhooks and for who signs people in. It follows no redirect.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client, with the system's authorities.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes one.
///
/// # Errors
/// The system's authorities cannot be read.
pub fn client() -> std::io::Result<Client> {
    let provider = rustls::crypto::ring::default_provider();
    let https = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
    Ok(legacy::Client::builder(TokioExecutor::new()).build(https.https_or_http().enable_http1().build()))
}

/// Whether something may be asked or told there: what is not encrypted does not leave this machine.
pub fn is_usable(uri: &Uri) -> bool {
    let here = |host: &str| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) => !host.is_empty(),
        (Some("http"), Some(host)) => here(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_encrypted_stays_here() {
        let usable = |url: &str| url.parse().is_ok_and(|uri| is_usable(&uri));
        for url in
            ["https://example.com/hook", "http://127.0.0.1:9000/", "http://[::1]/x", "http://localhost/"]
        {
            assert!(usable(url), "{url}");
        }
        for url in
            ["http://example.com/", "http://192.0.2.1/", "ftp://example.com/", "example.com", "https://", ""]
        {
            assert!(!usable(url), "{url}");
        }
    }
}
