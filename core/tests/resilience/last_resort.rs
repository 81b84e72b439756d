//! What the client is told when no target can answer.

use tollgate_core::ir::Class;
use tollgate_core::record::Outcome;

use super::play::{FIRST, Play, SECOND, chain_of, error};
use super::support::DIALECTS;
use super::support::talk;

/// The chain of two targets, with a message for the worst case.
fn with_message() -> String {
    chain_of("{ target = [\"first/one\", \"second/two\"], message = \"We are \\\"out\\\".\" }")
}

#[test]
fn a_message_is_told_as_a_models_answer_and_recorded_as_the_failure_it_is() {
    for dialect in DIALECTS {
        for is_stream in [false, true] {
            let mut play = Play::new(&with_message());
            let client = play.ask(dialect, is_stream);
            assert_eq!(play.reply(&error(529)), FIRST);
            play.back_off();
            assert_eq!(play.reply(&error(500)), FIRST);
            assert_eq!(play.reply(&error(503)), SECOND);
            play.back_off();
            assert_eq!(play.reply(&error(503)), SECOND);
            play.world.pass(core::time::Duration::from_secs(2));
            let answer = play.answer(client);
            assert_eq!(answer.status(), 200);
            let field = |name| answer.field(name).map(str::to_owned);
            let target = field("x-tollgate-target");
            assert_eq!(target.as_deref(), Some("tollgate/message"));
            assert_eq!(field("x-tollgate-attempts").as_deref(), Some("4"));
            let said = talk::read(dialect, &answer, !is_stream);
            assert_eq!(said.said().text, "We are \"out\".");
            let record = play.record();
            assert_eq!(record.attempts.len(), 4);
            let Outcome::Failed { class, .. } = record.outcome else {
                panic!("{:?}", record.outcome);
            };
            assert_eq!(class, Class::Overloaded);
        }
    }
}

#[test]
fn a_message_says_that_it_is_one_where_nobody_is_left_to_ask() {
    for dialect in DIALECTS {
        let mut play = Play::new(&with_message());
        // All breakers open.
        for _ in 0..2 {
            let client = play.ask(dialect, false);
            while !play.pending().is_empty() {
                play.reply(&error(500));
                play.back_off();
            }
            assert_eq!(play.answer(client).status(), 200);
        }
        for is_stream in [false, true] {
            let client = play.ask(dialect, is_stream);
            assert!(play.pending().is_empty());
            play.world.pass(core::time::Duration::from_secs(1));
            let answer = play.answer(client);
            assert_eq!(answer.field("x-tollgate-target"), Some("tollgate/message"));
            assert_eq!(answer.field("x-tollgate-attempts"), Some("0"));
        }
    }
}

#[test]
fn a_message_never_stands_for_an_error_of_the_client() {
    for dialect in DIALECTS {
        let mut play = Play::new(&with_message());
        let client = play.ask(dialect, true);
        assert_eq!(play.reply(&error(400)), FIRST);
        assert_eq!(play.answer(client).status(), 400);
        play.world.finish();
    }
}
