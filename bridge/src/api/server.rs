//! HTTP connections: as many at once as are served, and none that says nothing for long.

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once, without those that became WebSockets (they have shown a token). More wait to be accepted.
const CONNECTIONS: usize = 1024;
/// A request's head must be there this long after the connection is open or its last answer was sent.
const HEAD: Duration = Duration::from_secs(10);
/// The kernel keeps about twice as much for a peer that does not read, octets; left to itself, megabytes.
const UNREAD: usize = 128 * 1024;

/// From where a request comes, and to which address of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) local: IpAddr,
}

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors: a pause lets some close.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // An event must not wait for the acknowledgement of the one before (Nagle). A socket that is gone already shows it when it is read.
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(UNREAD);
        let local = stream.local_addr().map_or(peer.ip(), |a| a.ip());
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer { ip: peer.ip(), local });
            router.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::spawn(async move {
            // What a client does wrong is its own loss.
            let _ = connection.await;
            drop(place);
        });
    }
}
