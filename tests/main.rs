//! The bridge as its users and carriers meet it: as a process, over SIP, RTP and HTTP, with peers that others wrote.
//!
//! Every test starts its own bridge on free ports of the loopback interface and ends it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod accounts;
mod api;
mod attack;
mod authority;
mod baresip;
mod bookings;
mod browser;
mod carriers;
mod configuration;
mod dial;
mod examples;
mod harness;
mod ivr;
mod listener;
mod meeting;
mod own;
mod phones;
mod portal;
mod privacy;
mod proxy;
mod schema;
mod sipp;
mod tls;
mod web;
mod webhook;
mod webrtc;
mod wire;
