//! The product: conferences, roster, trunks, API and the commands of the binary `sotto`.
//!
//! A call's way: the SIP worker's event → [`control`] asks [`routing`] for the conference → its [`focus`] admits the
//! call, gives it media and a row in its [`roster`] → the roster's feed goes out by [`api`].
//!
//! | module | owns |
//! |---|---|
//! | [`jwk`] | public keys as JSON Web Keys |
//! | [`sound`] | from what signalling agreed on to a leg's media |
//! | [`disclosure`] | who sees what of whom: the only way from a sealed name to anybody |
//! | [`place`] | where a carrier is reached, as it is configured |
//! | [`ledger`] | what lasts: one encrypted file |
//! | [`ivr`] | a caller's way to their meeting: the script, as data |
//! | [`pin`] | PINs, and how often they may be guessed |
//! | [`meeting`] | a meeting's rules: who may do what, and what follows from it |
//! | [`prompt`] | what is said to one caller alone |
//! | [`outward`] | HTTP to servers of others |
//! | [`config`] | the configuration file: reading it, and faults by line |
//! | [`trunk`] | which source addresses are carriers of ours |
//! | [`audit`] | what was disclosed to whom |
//! | [`dial`] | calls that hosts ask for: how many, and what became of each |
//! | [`roster`] | the live list of participants and its feed |
//! | [`booking`] | conferences that accounts have made |
//! | [`routing`] | which conference a dialled number belongs to |
//! | [`link`] | personal links and codes: a caller's way to a page of their own |
//! | [`webhook`] | the site's own programs, told of what happens |
//! | [`legal`] | reading what is withheld for a legal reason: two people, a purpose, a key outside |
//! | [`monitor`] | listening without being seen: a role of its own, audited |
//! | [`focus`] | one conference: the only owner of its roster (RFC 4353) |
//! | [`control`] | calls and conferences: who gets which event |
//! | [`account`] | who may sign in |
//! | [`oidc`] | who somebody is, by a provider of the site's |
//! | [`access`] | tokens, sessions, their roles and their viewers' keys |
//! | [`surface`] | the list of everything that shows or writes something |
//! | [`telemetry`] | log, metrics, health |
//! | [`api`] | HTTP and WebSocket |
//! | [`phone`] | calls made by ourselves: the test phone and the load generator's legs |
//! | [`loadtest`] | load on another bridge, and what is heard under it |
//! | [`viewer`] | a roster's viewer: the feed's client, the live table |
//! | [`cli`] | the commands |
//!
//! A module imports only from those above it.
#![forbid(unsafe_code)]

pub mod jwk;

pub mod sound;

pub mod disclosure;

pub mod place;

pub mod ledger;

pub mod ivr;

pub mod pin;

pub mod meeting;

pub mod prompt;

pub mod outward;

pub mod config;

pub mod trunk;

pub mod audit;

pub mod dial;

pub mod roster;

pub mod booking;

pub mod routing;

pub mod link;

pub mod webhook;

pub mod legal;

pub mod monitor;

pub mod focus;

pub mod control;

pub mod account;

pub mod oidc;

pub mod access;

pub mod surface;

pub mod telemetry;

pub mod api;

pub mod phone;

pub mod loadtest;

pub mod viewer;

pub mod cli;
