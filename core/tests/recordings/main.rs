//! Every recording of both APIs, sent through the whole gateway: to an upstream of the API that the
//! client speaks, and to one of the other. Prints a table; whatever does not pass is in it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corpus;
mod other;
mod requests;
mod same;
#[path = "../support/mod.rs"]
mod support;
mod table;

use corpus::{Corpus, Recording};
use table::{Outcome, Table};

/// One way of a recording through the gateway.
type Way = fn(&Recording) -> Outcome;

/// Runs every recording through `ways`, and fails if one of them fails.
fn run(corpus: &Corpus, ways: &[(&'static str, Way)]) {
    let mut table = Table::default();
    for &(name, way) in ways {
        table.run(name, &corpus.all, way);
    }
    table.print();
    table.judge(corpus.all.len());
}

#[test]
fn anthropic_messages() {
    let Some(corpus) = corpus::read("anthropic.messages") else {
        return;
    };
    assert!(corpus.all.len() >= 319, "{} recordings", corpus.all.len());
    run(&corpus, &WAYS);
}

#[test]
fn openai_chat() {
    let Some(corpus) = corpus::read("openai.chat") else {
        return;
    };
    assert!(corpus.all.len() >= 551, "{} recordings", corpus.all.len());
    run(&corpus, &WAYS);
}

const WAYS: [(&str, Way); 4] = [
    ("same API", same::check),
    ("other API, request as recorded", requests::check),
    ("other API, request", other::check_request),
    ("other API, answer", other::check_answer),
];
