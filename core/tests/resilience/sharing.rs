//! Requests that ask the same at the same time, and share one answer (`coalesce`).

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::ir::{Blame, Class};
use tollgate_core::record::Outcome;

use super::fixtures::request;
use super::play::{FIRST, Play, SECOND, error, well};
use super::support::talk;
use super::support::world::{Conn, End};

/// Two targets; of two callers the first shares its answers.
const SHARED: &str = r#"
    retry.repeats_max = 0
    queue.length_max = 1

    [models]
    asked = ["first/one", "second/two"]

    [providers.first]
    dialect = "anthropic"
    base_url = "http://127.0.0.1:9001"
    credentials = "none"

    [providers.second]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9002/v1"
    credentials = "none"

    [[callers]]
    name = "shares"
    key = "shares-0123456789abcdef"
    coalesce = true

    [[callers]]
    name = "does-not"
    key = "does-not-0123456789abcdef"
"#;

/// The first target alone, which is asked once at a time.
fn narrow() -> String {
    let narrow = SHARED.replace("\"none\"", "\"none\"\nconcurrent = 1");
    narrow.replace(", \"second/two\"", "")
}

struct Ask<'a> {
    caller: &'a str,
    dialect: Dialect,
    is_stream: bool,
    words: &'a str,
    fields: &'a [(&'a str, &'a str)],
}

/// What is the same for all who share.
const SAME: Ask<'_> = Ask {
    caller: "shares",
    dialect: Dialect::Anthropic,
    is_stream: false,
    words: "same",
    fields: &[],
};

/// The same of a client with little time.
const HASTY: Ask<'_> = Ask {
    fields: &[("x-tollgate-timeout", "2")],
    ..SAME
};

fn ask(play: &mut Play, ask: Ask<'_>) -> Conn {
    let mut body = request(ask.dialect, ask.is_stream);
    body["messages"][0]["content"] = ask.words.into();
    play.ask_as(ask.caller, ask.dialect, &body, ask.fields)
}

/// Another request of the caller that shares, in bytes.
fn bytes() -> Vec<u8> {
    let key = ("authorization", "Bearer shares-0123456789abcdef");
    talk::request(
        Dialect::Anthropic,
        &[key],
        &request(Dialect::Anthropic, false),
    )
}

fn same(play: &mut Play) -> Conn {
    ask(play, SAME)
}

fn is_well(play: &Play, client: Conn) {
    play.answered_well(Dialect::Anthropic, client);
}

#[test]
fn each_gets_the_whole_answer_of_the_only_call_and_usage_counts_once() {
    let mut play = Play::new(SHARED);
    let clients: Vec<_> = (0..5).map(|_| same(&mut play)).collect();
    assert_eq!(play.pending().len(), 1);
    let reply = well(Dialect::Anthropic, false).field("request-id", "req_up");
    play.reply(&reply);
    let (mut ids, mut attempts) = (Vec::new(), Vec::new());
    for &client in &clients {
        is_well(&play, client);
        let answer = play.answer(client);
        assert_eq!(answer.field("request-id"), Some("req_up"));
        ids.push(answer.field("x-request-id").unwrap().to_owned());
        assert_eq!(answer.field("x-tollgate-target"), Some("first/one"));
        attempts.extend(answer.field("x-tollgate-attempts").map(str::to_owned));
    }
    attempts.sort();
    assert_eq!(attempts, ["0", "0", "0", "0", "1"], "each tells of its own");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each has its own id");
    // It is over: the next one is asked anew, on the same connections.
    let again = bytes();
    for &client in &clients {
        play.world.send(client, again.clone());
    }
    assert_eq!(play.pending().len(), 1);
    play.reply_well(false);
    let records = play.world.finish();
    let paid = records.iter().filter(|it| it.usage.output.is_some());
    assert_eq!(paid.count(), 2);
    let leader = records.iter().find(|it| it.shared_with.is_none()).unwrap();
    let shared = records.iter().filter_map(|it| it.shared_with.as_ref());
    assert_eq!(shared.filter(|&it| *it == leader.request_id).count(), 4);
    assert!(records.iter().all(|it| it.outcome == Outcome::Complete));
}

#[test]
fn only_what_is_the_same_is_shared_and_only_if_the_caller_wants_that() {
    let beta: &[_] = &[("anthropic-beta", "some-beta")];
    let harmless: &[_] = &[("x-request-id", "abc"), ("user-agent", "x")];
    let differs = |ask: Ask<'_>| {
        let mut play = Play::new(SHARED);
        same(&mut play);
        self::ask(&mut play, ask);
        let count = play.pending().len();
        play.world.finish();
        count == 2
    };
    let with = |fields| Ask { fields, ..SAME };
    assert!(!differs(SAME));
    assert!(!differs(with(harmless)));
    assert!(differs(with(beta)));
    assert!(differs(Ask {
        words: "other",
        ..SAME
    }));
    assert!(differs(Ask {
        caller: "does-not",
        ..SAME
    }));
    assert!(differs(Ask {
        dialect: Dialect::OpenAiChat,
        ..SAME
    }));
    assert!(differs(Ask {
        is_stream: true,
        ..SAME
    }));
    // Streams are never shared, nor are those of a caller that does not want it.
    for is_stream in [true, false] {
        let mut play = Play::new(SHARED);
        for _ in 0..3 {
            let caller = if is_stream { "shares" } else { "does-not" };
            let asked = Ask {
                caller,
                is_stream,
                ..SAME
            };
            ask(&mut play, asked);
        }
        assert_eq!(play.pending().len(), 3);
        play.world.finish();
    }
}

#[test]
fn when_the_first_client_leaves_the_others_still_get_the_answer() {
    for end in [End::Fin, End::Reset] {
        let mut play = Play::new(SHARED);
        let first = same(&mut play);
        let others: Vec<_> = (0..3).map(|_| same(&mut play)).collect();
        let (conn, port, _) = play.asked();
        assert_eq!(port, FIRST);
        play.world.hang_up(first, end);
        play.world.hang_up(others[1], end);
        assert!(!play.world.is_closed(conn), "it goes on for the others");
        assert!(play.pending().is_empty(), "and is not asked again");
        play.send(conn, &well(Dialect::Anthropic, false));
        is_well(&play, others[0]);
        is_well(&play, others[2]);
        let records = play.world.finish();
        let gone = records
            .iter()
            .filter(|it| it.outcome == Outcome::ClientGone);
        assert_eq!(gone.count(), 2);
        // The attempt is in the record of the one whose call it became.
        let attempts: Vec<_> = records.iter().map(|it| it.attempts.len()).collect();
        assert_eq!(attempts.iter().sum::<usize>(), 1, "{attempts:?}");
    }
}

#[test]
fn when_all_leave_the_call_ends() {
    let mut play = Play::new(SHARED);
    let clients: Vec<_> = (0..3).map(|_| same(&mut play)).collect();
    let (conn, ..) = play.asked();
    for client in clients {
        assert!(!play.world.is_closed(conn));
        play.world.hang_up(client, End::Fin);
    }
    assert!(play.world.is_closed(conn));
    assert_eq!(play.world.usage().exchanges, 0);
    play.world.finish();
}

#[test]
fn a_failover_is_for_all_and_so_is_the_failure() {
    let mut play = Play::new(SHARED);
    let clients: Vec<_> = (0..3).map(|_| same(&mut play)).collect();
    assert_eq!(play.reply(&error(500)), FIRST);
    assert!(clients.iter().all(|&client| play.is_silent(client)));
    assert_eq!(play.reply_well(false), SECOND);
    clients.iter().for_each(|&client| is_well(&play, client));
    let clients: Vec<_> = (0..3).map(|_| same(&mut play)).collect();
    assert_eq!(play.reply(&error(400)), FIRST);
    for client in clients {
        let answer = play.answer(client);
        assert_eq!(answer.status(), 400);
        assert!(answer.text().contains("told by the upstream"));
    }
    play.world.finish();
}

#[test]
fn what_befell_the_first_alone_is_not_the_others_answer() {
    // Its own time is up.
    let mut play = Play::new(SHARED);
    let first = ask(&mut play, HASTY);
    let others: Vec<_> = (0..2).map(|_| same(&mut play)).collect();
    let (conn, ..) = play.asked();
    play.world.pass(Duration::from_secs(2));
    assert_eq!(play.answer(first).status(), 504);
    assert!(!play.world.is_closed(conn), "it goes on for the others");
    assert!(play.pending().is_empty(), "and is not asked again");
    play.send(conn, &well(Dialect::Anthropic, false));
    others.iter().for_each(|&client| is_well(&play, client));
    let records = play.world.finish();
    let blamed = records.iter().filter_map(|it| match it.outcome {
        Outcome::Failed { class, blame, .. } => Some((class, blame)),
        Outcome::Complete | Outcome::ClientGone => None,
    });
    let blamed: Vec<_> = blamed.collect();
    assert_eq!(blamed, [(Class::Timeout, Blame::Client)]);
    // It has to leave a line, or waits there in vain: those who came later wait longer.
    let mut play = Play::new(&narrow());
    let held = ask(
        &mut play,
        Ask {
            words: "held",
            ..SAME
        },
    );
    let first = same(&mut play);
    play.world.pass(Duration::from_secs(4));
    let second = same(&mut play);
    assert_eq!(play.world.usage().waiting, 1);
    play.world.pass(Duration::from_secs(6));
    assert_eq!(play.answer(first).status(), 529);
    assert!(play.is_silent(second));
    assert_eq!(play.reply_well(false), FIRST);
    is_well(&play, held);
    assert_eq!(play.reply_well(false), FIRST);
    is_well(&play, second);
    play.world.finish();
}

#[test]
fn a_follower_whose_own_time_is_up_is_told_so_alone() {
    let mut play = Play::new(SHARED);
    let first = same(&mut play);
    let hasty = ask(&mut play, HASTY);
    play.world.pass(Duration::from_secs(3));
    assert_eq!(play.answer(hasty).status(), 504);
    play.reply_well(false);
    is_well(&play, first);
    // One that takes the place of the first has its own time, not that one's.
    let hasty = ask(&mut play, HASTY);
    let patient = same(&mut play);
    let (conn, ..) = play.asked();
    play.world.hang_up(hasty, End::Fin);
    play.world.pass(Duration::from_secs(30));
    assert!(play.is_silent(patient));
    play.send(conn, &well(Dialect::Anthropic, false));
    is_well(&play, patient);
    play.world.finish();
}

#[test]
fn followers_have_a_bound() {
    let mut play = Play::new(SHARED);
    let clients: Vec<_> = (0..67).map(|_| same(&mut play)).collect();
    assert_eq!(play.pending().len(), 3);
    play.reply_well_to_all(false);
    for client in clients {
        is_well(&play, client);
    }
    play.world.finish();
}

#[test]
fn a_call_that_takes_too_long_is_not_made_again_for_each_of_the_others() {
    let mut play = Play::new(&format!("timers.total = \"20s\"\n{SHARED}"));
    let first = same(&mut play);
    play.world.pass(Duration::from_millis(100));
    let others: Vec<_> = (0..3).map(|_| same(&mut play)).collect();
    play.asked();
    play.world.pass(Duration::from_secs(20));
    assert!(play.pending().is_empty());
    assert_eq!(play.world.upstreams().len(), 1, "asked once");
    assert_eq!(play.answer(first).status(), 504);
    for client in others {
        assert_eq!(play.answer(client).status(), 504);
    }
    play.world.finish();
}

#[test]
fn requests_under_different_configs_share_nothing() {
    let mut play = Play::new(SHARED);
    let whole = bytes();
    let old = play.world.client();
    let (start, end) = whole.split_at(whole.len() - 5);
    play.world.send(old, start.to_vec());
    let other = SHARED.replace("\"first/one\", ", "");
    play.reload(&other);
    play.world.send(old, end.to_vec());
    let new = play.world.client();
    play.world.send(new, whole);
    let ports: Vec<_> = play.pending().iter().map(|it| it.1).collect();
    // The old one has no place yet, and goes on under the new config, by itself.
    assert_eq!(ports, [SECOND, SECOND]);
    play.world.finish();
}

#[test]
fn those_who_followed_go_on_under_a_new_config_like_all_who_wait() {
    let narrow = narrow().replace("length_max = 1", "length_max = 9");
    let mut play = Play::new(&narrow);
    for _ in 0..2 {
        let other = Ask {
            caller: "does-not",
            ..SAME
        };
        ask(&mut play, other);
        play.world.pass(Duration::from_secs(1));
    }
    let first = same(&mut play);
    play.world.pass(Duration::from_secs(4));
    let second = same(&mut play);
    play.reload(&narrow);
    assert_eq!(
        play.pending().len(),
        1,
        "the one that is there still counts"
    );
    play.world.pass(Duration::from_secs(6));
    assert_eq!(play.answer(first).status(), 529);
    assert_eq!(play.pending().len(), 1);
    assert!(play.is_silent(second));
    assert_eq!(play.world.usage().waiting, 1);
    play.world.finish();
}

#[test]
fn that_the_first_client_has_no_time_to_wait_is_not_the_others_answer() {
    for status in [429, 503] {
        let config = SHARED.replace(", \"second/two\"", "");
        let config = config.replace("retry.repeats_max = 0", "retry.repeats_max = 1");
        let config = config.replacen("credentials = \"none\"", "key = \"key-1\"", 1);
        let mut play = Play::new(&config);
        let hasty = ask(&mut play, HASTY);
        let patient = same(&mut play);
        play.reply(&error(status).field("retry-after", "3"));
        assert_eq!(play.answer(hasty).status(), status);
        assert!(play.is_silent(patient), "{status}");
        play.world.pass(Duration::from_millis(3_500));
        play.reply_well(false);
        is_well(&play, patient);
    }
}
