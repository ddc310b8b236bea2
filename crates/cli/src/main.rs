//! The command `cirio`: it parses, calls the libraries, and prints.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed (with one line that says why), 2 wrong
//! usage.
#![deny(unsafe_code)]

mod console;
mod detector;
mod drawing;
mod facts;
mod memory;
mod network;
mod parse;
mod pictures;
mod progress;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Run, train, measure and look into convolutional networks.
#[derive(Parser)]
#[command(name = "cirio", version, max_term_width = 100, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON document on stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    List(verbs::list::Args),
    Info(verbs::info::Args),
    Summary(verbs::summary::Args),
    Size(verbs::size::Args),
    Predict(Box<verbs::predict::Args>),
    Train(Box<verbs::train::Args>),
    Eval(verbs::eval::Args),
    Explain(Box<verbs::explain::Args>),
    Filter(verbs::filter::Args),
    Convert(verbs::convert::Args),
    Data(verbs::data::Args),
    Bench(verbs::bench::Args),
}

fn main() -> ExitCode {
    memory::keep_large_blocks();
    let Cli { verb, json } = Cli::parse();
    let done = match verb {
        Verb::List(args) => args.run(json),
        Verb::Info(args) => args.run(json),
        Verb::Summary(args) => args.run(json),
        Verb::Size(args) => args.run(json),
        Verb::Predict(args) => args.run(json),
        Verb::Train(args) => args.run(json),
        Verb::Eval(args) => args.run(json),
        Verb::Explain(args) => args.run(json),
        Verb::Filter(args) => args.run(json),
        Verb::Convert(args) => args.run(json),
        Verb::Data(args) => args.run(json),
        Verb::Bench(args) => args.run(json),
    };
    console::exit_code(done)
}
