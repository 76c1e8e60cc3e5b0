//! `cargo xtask`: all that is done with this repository, each command with its own set-up.

#![forbid(unsafe_code)]

mod abi;
mod against;
mod ahead;
mod bench;
mod bench_drivers;
mod bench_tcp;
mod bench_tuntap;
mod build;
mod cargo;
mod clean_up;
mod demo;
mod demo_generator;
mod demo_nat64;
mod demo_story;
mod docs;
mod fuzz;
mod instructions;
mod packages;
mod plots;
mod report;
mod sanitize;
mod sharing;
mod soak;
mod supervise;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test, measure and show raddle.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch hosts in network namespaces talk through raddle with a plugin on the way
    Demo(demo::Arguments),
    /// Run the tests, all layers or those named
    Test(test::Arguments),
    /// Build the workspace and the example plugins, and fill the plugin directory
    Build(build::Arguments),
    /// Build one plugin in every way that must load: profiles, linkers, toolchains, languages, ABI versions
    Abi(abi::Arguments),
    /// Measure packets/s and clocks per packet
    Bench(bench::Arguments),
    /// Count the instructions that a packet costs, and compare them with those on record
    Instructions(instructions::Arguments),
    /// Look whether workers share cache lines that one of them writes while packets pass
    Sharing(sharing::Arguments),
    /// Build what later layers of tests need
    #[command(hide = true)]
    Ahead,
    /// Write the book's reference pages from what the core registers
    Docs(docs::Arguments),
    /// Run fuzz targets, all or those named
    Fuzz(fuzz::Arguments),
    /// Run the tests of the unsafe code of SDK and core under AddressSanitizer, where there is a nightly toolchain
    Sanitize(sanitize::Arguments),
    /// Run raddle under traffic and changes for minutes, and look what is left (root)
    Soak(soak::Arguments),
    /// Remove namespaces and temporary directories that killed runs left
    CleanUp(clean_up::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Build(arguments) => build::run(&arguments).map(|_| ExitCode::SUCCESS),
        Command::Abi(arguments) => abi::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
        Command::Sharing(arguments) => sharing::run(&arguments),
        Command::Ahead => ahead::run(),
        Command::Docs(arguments) => docs::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Sanitize(arguments) => sanitize::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::CleanUp(arguments) => clean_up::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
