//! The binary `sotto`.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

/// Blocks are wiped when freed, and come from secret pages inside a region.
#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    match sotto::cli::run(sotto::cli::Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("sotto: {e:#}");
            ExitCode::FAILURE
        }
    }
}
