//! Sockets: UDP and TCP on tokio.
