//! Targets that have not what a request needs: the window for its prompt, images, tools.

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;

use super::fixtures::{error_body, request_with};
use super::play::{CHAIN, FIRST, Play, SECOND, chain_of, dialect_at, error};
use super::support::DIALECTS;
use super::support::talk::Reply;
use super::support::world::Conn;

/// The targets of [`CHAIN`] with these traits.
fn chain(targets: &[(&str, &str)]) -> String {
    let targets: Vec<_> = targets
        .iter()
        .map(|(target, traits)| format!("{{ target = {target:?}, traits = {{ {traits} }} }}"))
        .collect();
    chain_of(&format!("[{}]", targets.join(", ")))
}

/// A new client asks with these members besides the usual ones.
fn ask(play: &mut Play, dialect: Dialect, members: Json) -> Conn {
    play.ask_body(dialect, &request_with(dialect, false, &members), &[])
}

/// A prompt of so many tokens.
fn long(tokens: usize) -> Json {
    json!({"messages": [{"role": "user", "content": "abc ".repeat(tokens)}]})
}

fn with_image(dialect: Dialect) -> Json {
    let part = match dialect {
        Dialect::Anthropic => json!({"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": "A".repeat(40_000)}}),
        Dialect::OpenAiChat => json!({"type": "image_url", "image_url": {
            "url": format!("data:image/png;base64,{}", "A".repeat(40_000))}}),
    };
    json!({"messages": [{"role": "user", "content": [part]}]})
}

fn with_tools(dialect: Dialect) -> Json {
    let schema = json!({"type": "object", "properties": {}});
    match dialect {
        Dialect::Anthropic => json!({"tools": [{"name": "f", "input_schema": schema}]}),
        Dialect::OpenAiChat => json!({"tools": [{"type": "function", "function": {
            "name": "f", "parameters": schema}}]}),
    }
}

/// An upstream says that the prompt is too long.
fn overflow(port: u16) -> Reply {
    match dialect_at(port) {
        dialect @ Dialect::Anthropic => {
            let message = "prompt is too long: 208310 tokens > 200000 maximum";
            let body = error_body(dialect, "invalid_request_error", message);
            Reply::json(400, body.to_string())
        }
        Dialect::OpenAiChat => {
            let message = "This model's maximum context length is 8192 tokens.";
            let error = json!({"message": message, "code": "context_length_exceeded",
                "type": "invalid_request_error", "param": "messages"});
            Reply::json(400, json!({"error": error}).to_string())
        }
    }
}

/// The only pending request is answered well; says which model of which port was asked.
fn served(play: &mut Play) -> (u16, String) {
    let (port, request) = play.serve(false);
    (port, request.json()["model"].as_str().unwrap().to_owned())
}

#[test]
fn a_target_that_lacks_what_is_needed_is_passed_over() {
    let config = chain(&[
        (
            "first/one",
            "context_window = 1000, images = false, tools = false",
        ),
        ("second/two", ""),
    ]);
    for dialect in DIALECTS {
        for (members, port) in [
            (long(10), FIRST),
            (json!({"tools": []}), FIRST),
            (long(990), SECOND),
            (with_image(dialect), SECOND),
            (with_tools(dialect), SECOND),
        ] {
            let mut play = Play::new(&config);
            let client = ask(&mut play, dialect, members.clone());
            assert_eq!(served(&mut play).0, port);
            let answer = play.answer(client);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.field("x-tollgate-attempts"), Some("1"));
            assert_eq!(play.world.finish()[0].attempts.len(), 1);
        }
    }
}

#[test]
fn where_every_window_is_too_small_the_largest_is_asked() {
    let config = chain(&[
        ("first/one", "context_window = 1000"),
        ("second/two", "context_window = 3000"),
        ("first/three", "context_window = 2000"),
    ]);
    // The number of tokens was only estimated.
    let mut play = Play::new(&config);
    let client = ask(&mut play, Dialect::OpenAiChat, long(9_000));
    assert_eq!(served(&mut play), (SECOND, "two".to_owned()));
    assert_eq!(play.answer(client).status(), 200);
    // Or it was not, and the client reads it in the words that it knows.
    for dialect in DIALECTS {
        let mut play = Play::new(&config);
        let client = ask(&mut play, dialect, long(9_000));
        assert_eq!(play.reply(&overflow(SECOND)), SECOND);
        assert!(play.pending().is_empty());
        let answer = play.answer(client);
        assert_eq!(answer.status(), 400);
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        let words = match dialect {
            Dialect::Anthropic => "prompt is too long",
            Dialect::OpenAiChat => "maximum context length",
        };
        assert!(message.contains(words), "{message}");
        let attempts = &play.world.finish()[0].attempts;
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].failed(), Some(Class::ContextLength));
    }
}

#[test]
fn after_an_overflow_only_a_larger_window_is_asked() {
    let config = chain(&[
        ("first/one", "context_window = 5000"),
        ("second/two", "context_window = 5000"),
        ("second/three", "context_window = 4000"),
        ("first/four", "context_window = 9000"),
        ("first/five", ""),
    ]);
    let mut play = Play::new(&config);
    let client = ask(&mut play, Dialect::Anthropic, long(100));
    assert_eq!(play.reply(&overflow(FIRST)), FIRST);
    let (conn, _, request) = play.asked();
    assert_eq!(request.json()["model"], "four");
    play.send(conn, &overflow(FIRST));
    // Of this one's window nothing is known.
    assert_eq!(served(&mut play), (FIRST, "five".to_owned()));
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn what_no_target_takes_is_told_without_asking_any() {
    for (traits, what) in [("images = false", "images"), ("tools = false", "tools")] {
        for targets in [
            vec![("first/one", traits)],
            vec![("first/one", traits), ("second/two", traits)],
        ] {
            for dialect in DIALECTS {
                let mut play = Play::new(&chain(&targets));
                let members = match what {
                    "images" => with_image(dialect),
                    _ => with_tools(dialect),
                };
                let client = ask(&mut play, dialect, members);
                assert!(play.pending().is_empty());
                let answer = play.answer(client);
                assert_eq!(answer.status(), 400);
                let error = &answer.json()["error"];
                assert_eq!(error["type"], "invalid_request_error");
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(what), "{message}");
                // What else is asked is answered.
                ask(&mut play, dialect, json!({}));
                assert_eq!(served(&mut play).0, FIRST);
            }
        }
    }
}

#[test]
fn a_target_that_could_is_worth_its_own_failure() {
    let config = chain(&[("first/one", "images = false"), ("second/two", "")]);
    let mut play = Play::new(&config);
    let client = ask(
        &mut play,
        Dialect::OpenAiChat,
        with_image(Dialect::OpenAiChat),
    );
    assert_eq!(play.reply(&error(401)), SECOND);
    assert_eq!(play.answer(client).status(), 401);
}

#[test]
fn names_of_models_tell_what_they_cannot_do() {
    let config = CHAIN.replace(
        "asked = [\"first/one\", \"second/two\"]",
        "\"llama-*\" = [\"second\", \"first/one\"]\n\
         \"gpt-*\" = [{ target = \"second\", traits = { images = true } }, \"first/one\"]",
    );
    for (model, port) in [
        ("llama-3.3-70b-instruct", FIRST),
        ("llama-4-scout", SECOND),
        // What is set stands over what the name tells.
        ("gpt-oss-120b", SECOND),
    ] {
        let mut play = Play::new(&config);
        let mut members = with_image(Dialect::OpenAiChat);
        members["model"] = model.into();
        let client = ask(&mut play, Dialect::OpenAiChat, members);
        assert_eq!(served(&mut play).0, port, "{model}");
        assert_eq!(play.answer(client).status(), 200);
    }
}
