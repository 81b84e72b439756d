//! Requests that have to wait: how many go on at once, who is next, and who does not wait at all.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::fixtures::request;
use super::play::{FIRST, Play, SECOND, error, well};
use super::support::DIALECTS;
use super::support::http::Message;
use super::support::world::{Conn, End};

/// One request at a time, asked by four callers.
const NARROW: &str = r#"
    [models]
    asked = "box/m"

    [providers.box]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9002/v1"
    credentials = "none"
    concurrent = 1

    [[callers]]
    name = "one"
    key = "one-0123456789abcdef"

    [[callers]]
    name = "three"
    key = "three-0123456789abcdef"
    weight = 3

    [[callers]]
    name = "high"
    key = "high-0123456789abcdef"
    priority = "high"

    [[callers]]
    name = "low"
    key = "low-0123456789abcdef"
    priority = "low"
"#;

/// Two models of one provider without keys, of which one takes a single request at a time.
const TWO_MODELS: &str = r#"
    [models]
    asked = { target = "box/narrow", concurrent = 1 }
    other = "box/wide"

    [providers.box]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9002/v1"
    credentials = "none"
"#;

/// [`NARROW`] with a key in the place of its provider's own limit, and these limits of that key.
fn keyed(limits: &str) -> String {
    let key = format!("key = \"key-1\"\nkey_limits = {{ {limits} }}");
    let keyed = NARROW.replace("credentials = \"none\"", &key);
    keyed.replace("concurrent = 1", "")
}

/// A caller asks, and says `words`.
fn ask(play: &mut Play, caller: &str, words: &str) -> Conn {
    ask_in(play, Dialect::OpenAiChat, caller, words)
}

fn ask_in(play: &mut Play, dialect: Dialect, caller: &str, words: &str) -> Conn {
    let mut body = request(dialect, false);
    body["messages"][0]["content"] = words.into();
    play.ask_as(caller, dialect, &body, &[])
}

/// The words of a request.
fn words(request: &Message) -> String {
    let body = request.json();
    body["messages"][0]["content"].as_str().unwrap().to_owned()
}

/// Answers the only request that an upstream has; gives its words.
fn serve(play: &mut Play) -> String {
    words(&play.serve(false).1)
}

/// Serves all, one after the other.
fn serve_all(play: &mut Play) -> Vec<String> {
    let mut order = Vec::new();
    while !play.pending().is_empty() {
        order.push(serve(play));
    }
    order
}

fn count(order: &[String], what: &str) -> usize {
    order.iter().filter(|it| *it == what).count()
}

#[test]
fn clients_take_turns_by_weight_however_many_requests_they_have() {
    let mut play = Play::new(NARROW);
    ask(&mut play, "one", "first");
    let long = "long ".repeat(1_000);
    for _ in 0..60 {
        ask(&mut play, "one", &long);
    }
    for _ in 0..30 {
        ask(&mut play, "three", &long);
    }
    let order = serve_all(&mut play);
    assert_eq!(order.len(), 91);
    // Whose they were is told by the records, in the order in which they ended.
    let records = play.world.finish();
    let names: Vec<_> = records
        .iter()
        .map(|it| it.caller.as_deref().unwrap().to_owned())
        .collect();
    let early = &names[1..41];
    let threes = count(early, "three");
    assert!((28..=31).contains(&threes), "{early:?}");
    assert_eq!(count(&names, "three"), 30);
}

#[test]
fn shorter_requests_get_more_turns_for_the_same_tokens() {
    let mut play = Play::new(NARROW);
    ask(&mut play, "one", "first");
    let (long, short) = ("long ".repeat(8_000), "short ".repeat(800));
    for _ in 0..10 {
        ask(&mut play, "one", &long);
    }
    let mut later = Vec::new();
    for _ in 0..50 {
        later.push(ask(&mut play, "low", "low"));
        later.push(ask(&mut play, "three", &short));
    }
    let order = serve_all(&mut play);
    let until = order.iter().rposition(|it| *it == short).unwrap();
    let longs = count(&order[..until], &long);
    // A third of the weight, and five times the tokens, those of answers included.
    assert!((3..=4).contains(&longs), "{longs}");
    assert_eq!(count(&order[order.len() - 50..], "low"), 50);
    for client in later {
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn higher_priorities_go_first() {
    let mut play = Play::new(NARROW);
    for caller in ["one", "low", "one", "high", "low", "high"] {
        ask(&mut play, caller, caller);
    }
    let order = serve_all(&mut play);
    assert_eq!(order, ["one", "high", "high", "one", "low", "low"]);
    play.world.finish();
}

#[test]
fn where_there_are_no_callers_each_address_is_a_client() {
    let config = NARROW.split("[[callers]]").next().unwrap();
    let mut play = Play::new(config);
    for words in ["first", "greedy", "greedy", "greedy"] {
        ask(&mut play, "one", words);
    }
    play.world.peer = ([10, 0, 0, 7], 1).into();
    ask(&mut play, "one", "modest");
    let order = serve_all(&mut play);
    assert_eq!(order, ["first", "greedy", "modest", "greedy", "greedy"]);
}

#[test]
fn a_full_queue_is_told_with_a_time_and_the_greediest_makes_room() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("queue.length_max = 3\n{NARROW}"));
        let held = ask(&mut play, "one", "held");
        let waiting: Vec<_> = (0..3)
            .map(|_| ask_in(&mut play, dialect, "one", "waits"))
            .collect();
        assert_eq!(play.world.usage().waiting, 3);
        // As many wait as may, and none has more than the new one would have.
        let refused = ask_in(&mut play, dialect, "one", "refused");
        let crowded = match dialect {
            Dialect::Anthropic => 529,
            Dialect::OpenAiChat => 503,
        };
        let answer = play.answer(refused);
        assert_eq!(answer.status(), crowded, "{}", answer.text());
        assert_eq!(answer.field("retry-after"), Some("1"));
        // A caller that has less takes the place of the last one of who has more.
        ask(&mut play, "three", "modest");
        assert_eq!(play.answer(waiting[2]).status(), crowded);
        // So does one that comes first anyway.
        ask(&mut play, "high", "high");
        assert_eq!(play.answer(waiting[1]).status(), crowded);
        let low = ask_in(&mut play, dialect, "low", "low");
        assert_eq!(play.answer(low).status(), crowded);
        let order = serve_all(&mut play);
        assert_eq!(order.len(), 4);
        assert_eq!(order[..2], ["held", "high"]);
        for client in [held, waiting[0]] {
            assert_eq!(play.answer(client).status(), 200);
        }
        play.world.finish();
    }
}

#[test]
fn nobody_waits_where_nobody_may() {
    let mut play = Play::new(&format!("queue.length_max = 0\n{NARROW}"));
    ask(&mut play, "one", "held");
    let client = ask(&mut play, "high", "refused");
    assert_eq!(play.answer(client).status(), 503);
    serve(&mut play);
    ask(&mut play, "high", "again");
    assert_eq!(serve(&mut play), "again");
}

#[test]
fn nobody_waits_longer_than_wait_max_and_the_time_told_is_that_of_others() {
    let mut play = Play::new(&format!("retry.wait_max = \"7s\"\n{NARROW}"));
    ask(&mut play, "one", "held");
    let lucky = ask(&mut play, "one", "lucky");
    play.world.pass(Duration::from_millis(4_200));
    let vain = ask_in(&mut play, Dialect::Anthropic, "one", "vain");
    assert_eq!(serve(&mut play), "held");
    assert_eq!(play.pending().len(), 1);
    play.world.pass(Duration::from_millis(6_999));
    assert!(play.is_silent(vain));
    play.world.pass(Duration::from_millis(1));
    let answer = play.answer(vain);
    assert_eq!(answer.status(), 529);
    assert_eq!(answer.field("retry-after"), Some("5"));
    assert_eq!(serve(&mut play), "lucky");
    assert_eq!(play.answer(lucky).status(), 200);
    assert_eq!(play.world.usage().waiting, 0);
    play.world.finish();
}

#[test]
fn in_a_line_that_is_never_empty_nobody_waits_for_long() {
    let mut play = Play::new(&format!("retry.wait_max = \"8s\"\n{NARROW}"));
    ask(&mut play, "one", "held");
    let early = ask(&mut play, "one", "early");
    play.world.pass(Duration::from_secs(6));
    let late = ask(&mut play, "one", "late");
    play.world.pass(Duration::from_secs(2));
    assert_eq!(play.answer(early).status(), 503);
    // By now somebody has stood there for all of those eight seconds.
    let next = ask(&mut play, "one", "next");
    for (client, millis) in [(late, 2_999), (next, 1_999)] {
        play.world.pass(Duration::from_millis(millis));
        assert!(play.is_silent(client));
        play.world.pass(Duration::from_millis(1));
        assert_eq!(play.answer(client).status(), 503, "after five seconds");
    }
    // When all are gone, the line is as any other.
    let patient = ask(&mut play, "one", "patient");
    play.world.pass(Duration::from_millis(7_999));
    assert!(play.is_silent(patient));
    assert_eq!(serve(&mut play), "held");
    assert_eq!(serve(&mut play), "patient");
    assert_eq!(play.answer(patient).status(), 200);
    play.world.finish();
}

#[test]
fn a_stream_that_waits_for_long_has_signs_of_life_and_then_the_answer() {
    let narrow = NARROW.split("[[callers]]").next().unwrap();
    let mut play = Play::new(&format!("retry.wait_max = \"60s\"\n{narrow}"));
    let held = play.ask(Dialect::OpenAiChat, false);
    let (conn, ..) = play.asked();
    let (lucky, vain) = (play.ask(Dialect::Anthropic, true), {
        play.world.pass(Duration::from_secs(1));
        play.ask(Dialect::OpenAiChat, true)
    });
    play.world.pass(Duration::from_millis(8_999));
    assert!(play.world.written(lucky).is_empty());
    play.world.pass(Duration::from_millis(1));
    let before = play.world.written(lucky).len();
    assert!(play.world.written(lucky).starts_with(b"HTTP/1.1 200 "));
    play.world.pass(Duration::from_secs(49));
    assert!(play.world.written(lucky).len() > before);
    play.send(conn, &well(Dialect::OpenAiChat, false));
    assert_eq!(play.answer(held).status(), 200);
    let (conn, ..) = play.asked();
    play.world.pass(Duration::from_secs(2));
    let told = play.answer(vain);
    assert!(told.text().contains("answers as many requests"));
    play.send(conn, &well(Dialect::OpenAiChat, true));
    play.answered_well(Dialect::Anthropic, lucky);
    play.world.finish();
}

#[test]
fn who_leaves_frees_the_place_at_once() {
    let mut play = Play::new(&format!("queue.length_max = 1\n{NARROW}"));
    let held = ask(&mut play, "one", "held");
    let gone = ask(&mut play, "one", "gone");
    assert_eq!(play.world.usage().waiting, 1);
    play.world.hang_up(gone, End::Fin);
    assert_eq!(play.world.usage().waiting, 0);
    ask(&mut play, "one", "stays");
    assert_eq!(play.world.usage().waiting, 1);
    // And so does who is being answered.
    play.world.hang_up(held, End::Reset);
    let (_, _, request) = play.asked();
    assert_eq!(words(&request), "stays");
    let timers = play.world.usage().timers;
    assert!(timers < 10, "{timers}");
    play.world.finish();
}

#[test]
fn a_client_has_its_own_limit_and_is_told_of_it_as_its_own() {
    for dialect in DIALECTS {
        let limited = NARROW.replace("concurrent = 1", "");
        let limited = limited.replace("= \"high\"\n\n", "= \"high\"\nconcurrent = 2\n\n");
        let mut play = Play::new(&format!("queue.length_max = 1\n{limited}"));
        for _ in 0..2 {
            ask(&mut play, "high", "held");
        }
        let waits = ask(&mut play, "high", "waits");
        let refused = ask_in(&mut play, dialect, "high", "refused");
        let answer = play.answer(refused);
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.field("retry-after"), Some("1"));
        // Others have nothing to do with it.
        for _ in 0..5 {
            ask(&mut play, "one", "free");
        }
        assert_eq!(play.pending().len(), 7);
        let (conn, ..) = play.pending().remove(0);
        play.reply_on(conn, &well(Dialect::OpenAiChat, false));
        assert_eq!(play.pending().len(), 7, "the next one goes");
        play.world.pass(Duration::from_secs(11));
        assert!(play.is_silent(waits), "it runs");
        play.world.finish();
    }
}

#[test]
fn a_limit_for_each_client_holds_for_who_has_none_of_its_own() {
    let config = NARROW.replace("concurrent = 1", "");
    let mut play = Play::new(&format!("queue.concurrent_per_client = 1\n{config}"));
    for caller in ["one", "one", "three", "three", "three"] {
        ask(&mut play, caller, caller);
    }
    assert_eq!(play.pending().len(), 2);
    assert_eq!(play.world.usage().waiting, 3);
    play.world.finish();
}

#[test]
fn a_long_answer_holds_its_own_place_alone() {
    let mut play = Play::new(TWO_MODELS);
    // The narrow target is taken, and more wait for it.
    let held = ask(&mut play, "any", "held");
    let _waits: Vec<_> = (0..5).map(|_| ask(&mut play, "any", "waits")).collect();
    assert_eq!(play.pending().len(), 1);
    // Other models of the same provider do not care.
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut body = request(Dialect::OpenAiChat, false);
        body["model"] = "other".into();
        body["messages"][0]["content"] = "passes".into();
        others.push(play.ask_body(Dialect::OpenAiChat, &body, &[]));
    }
    let pending = play.pending();
    assert_eq!(pending.len(), 4);
    let good = well(Dialect::OpenAiChat, false);
    for (conn, _, message) in pending {
        if words(&message) == "passes" {
            play.reply_on(conn, &good);
        }
    }
    for client in others {
        assert_eq!(play.answer(client).status(), 200);
    }
    assert!(play.is_silent(held));
    play.world.finish();
}

#[test]
fn a_request_that_may_go_to_either_goes_where_it_can_first() {
    let chain = r#"
        [models]
        asked = { target = ["first/one", "second/two"], concurrent = 1 }

        [providers.first]
        dialect = "anthropic"
        base_url = "http://127.0.0.1:9001"
        credentials = "none"

        [providers.second]
        dialect = "openai-chat"
        base_url = "http://127.0.0.1:9002/v1"
        credentials = "none"
    "#;
    let mut play = Play::new(chain);
    for words in ["a", "b", "c", "d"] {
        ask(&mut play, "any", words);
    }
    let ports = |play: &Play| play.pending().iter().map(|it| it.1).collect::<Vec<_>>();
    assert_eq!(ports(&play), [FIRST, SECOND]);
    let (conn, ..) = play.pending().remove(1);
    play.reply_on(conn, &well(Dialect::OpenAiChat, false));
    assert_eq!(ports(&play), [FIRST, SECOND]);
    assert_eq!(play.world.usage().waiting, 1);
    // Its place at the other one is gone with it: the last one gets that.
    let (conn, ..) = play.pending().remove(0);
    play.reply_on(conn, &well(Dialect::Anthropic, false));
    assert_eq!(ports(&play), [FIRST, SECOND]);
    assert_eq!(play.world.usage().waiting, 0);
    play.world.finish();
}

#[test]
fn a_failed_attempt_gives_its_place_to_the_next() {
    let mut play = Play::new(&format!("retry.repeats_max = 1\n{NARROW}"));
    let fails = ask(&mut play, "one", "fails");
    ask(&mut play, "one", "next");
    play.reply(&error(500));
    // While the first backs off, the second is answered; then comes the repetition.
    assert_eq!(serve(&mut play), "next");
    play.back_off();
    assert_eq!(serve(&mut play), "fails");
    assert_eq!(play.answer(fails).status(), 200);
    play.world.finish();
}

#[test]
fn a_reload_takes_those_along_who_wait() {
    let mut play = Play::new(NARROW);
    let waiting: Vec<_> = ["held", "one", "two"]
        .map(|words| ask(&mut play, "one", words))
        .to_vec();
    // The one that is there still counts; of the others, one may go now.
    play.reload(&NARROW.replace("concurrent = 1", "concurrent = 2"));
    assert_eq!(play.pending().len(), 2);
    assert_eq!(play.world.usage().waiting, 1);
    play.reply_well_to_all(false);
    play.reply_well(false);
    for client in waiting {
        assert_eq!(play.answer(client).status(), 200);
    }
    play.world.finish();
}

#[test]
fn a_reload_lets_nobody_off_a_cooling_key() {
    let keyed = NARROW.replace("credentials = \"none\"", "key = \"key-1\"");
    let mut play = Play::new(&keyed);
    ask(&mut play, "one", "limited");
    play.reply(&error(429).field("retry-after", "5"));
    let waiting: Vec<_> = (0..20).map(|_| ask(&mut play, "one", "waits")).collect();
    assert_eq!(play.world.usage().waiting, 21);
    play.reload(&keyed);
    assert!(play.pending().is_empty());
    assert_eq!(play.world.usage().waiting, 21);
    play.world.pass(Duration::from_millis(5_001));
    assert_eq!(play.pending().len(), 1);
    let order = serve_all(&mut play);
    assert_eq!(order.len(), 21);
    assert_eq!(order[0], "limited", "it came first");
    for client in waiting {
        assert_eq!(play.answer(client).status(), 200);
    }
    // A model that the new config does not know: those who wait for it keep the old one.
    ask(&mut play, "one", "held");
    let waits = ask(&mut play, "one", "waits");
    let other = keyed.replace("asked =", "unasked =");
    play.reload(&other);
    assert_eq!(play.pending().len(), 2);
    play.world.hang_up(waits, End::Fin);
    play.world.finish();
}

#[test]
fn when_a_key_works_again_all_go_at_once() {
    let mut play = Play::new(&keyed(""));
    ask(&mut play, "one", "limited");
    play.reply(&error(429).field("retry-after", "5"));
    for _ in 0..20 {
        ask(&mut play, "one", "waits");
    }
    play.world.pass(Duration::from_secs(5));
    let (conn, ..) = play.asked();
    assert!(play.pending().is_empty());
    // The head is enough to know.
    play.world
        .send(conn, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    assert_eq!(play.pending().len(), 20);
    play.world.finish();
}

#[test]
fn one_that_leaves_lets_a_smaller_one_pass() {
    let keyed = keyed("tokens_per_minute = 3000");
    let mut play = Play::new(&format!("retry.wait_max = \"5m\"\n{keyed}"));
    ask(&mut play, "one", &"long ".repeat(1_000));
    let long = ask(&mut play, "three", &"long ".repeat(2_000));
    // What comes later waits its turn, though there would be room for it.
    ask(&mut play, "three", "short");
    assert_eq!(play.pending().len(), 1);
    assert_eq!(play.world.usage().waiting, 2);
    play.world.hang_up(long, End::Fin);
    assert_eq!(play.pending().len(), 2);
    assert_eq!(play.world.usage().waiting, 0);
    play.world.finish();
}

#[test]
fn limits_are_divided_among_shards() {
    let config = NARROW.replace("concurrent = 1", "concurrent = 7");
    let mut play = Play::nth_of(0, 3, &config);
    for _ in 0..5 {
        ask(&mut play, "one", "words");
    }
    assert_eq!(play.pending().len(), 2);
    play.world.finish();
}

#[test]
fn whose_turn_it_is_among_its_clients_requests_overtakes_nobody_else() {
    let keyed = keyed("tokens_per_minute = 3000");
    let keyed = keyed.replace("= \"one\"\n", "= \"one\"\nconcurrent = 1\n");
    let mut play = Play::new(&format!("retry.wait_max = \"5m\"\n{keyed}"));
    ask(&mut play, "one", "first");
    let (conn, ..) = play.asked();
    ask(&mut play, "three", &"long ".repeat(1_000));
    play.asked();
    ask(&mut play, "three", &"long ".repeat(2_000));
    ask(&mut play, "one", "second");
    assert_eq!(play.world.usage().waiting, 2);
    play.send(conn, &well(Dialect::OpenAiChat, false));
    assert!(play.pending().is_empty(), "a longer one came before");
    play.world.finish();
}

#[test]
fn nobody_waits_for_longer_in_several_lines_one_after_the_other() {
    let config = NARROW.replace("= \"one\"\n", "= \"one\"\nconcurrent = 1\n");
    let mut play = Play::new(&config);
    ask(&mut play, "one", "held");
    let vain = ask(&mut play, "one", "vain");
    ask(&mut play, "high", "high");
    play.world.pass(Duration::from_secs(9));
    assert_eq!(serve(&mut play), "held");
    assert!(play.is_silent(vain));
    play.world.pass(Duration::from_secs(1));
    assert_eq!(play.answer(vain).status(), 503);
    play.world.finish();
}

#[test]
fn one_who_is_next_at_two_targets_without_a_place_at_either_provider_waits_in_peace() {
    // As many at a provider as two, and after the reload one.
    let config = |concurrent: u32| {
        format!(
            r#"
            [models]
            asked = [
                {{ target = "first/one", concurrent = 1 }},
                {{ target = "second/two", concurrent = 1 }},
            ]
            three = "first/three"
            four = "second/four"

            [providers.first]
            dialect = "openai-chat"
            base_url = "http://127.0.0.1:9002/v1"
            credentials = "none"
            concurrent = {concurrent}

            [providers.second]
            dialect = "openai-chat"
            base_url = "http://127.0.0.1:9004/v1"
            credentials = "none"
            concurrent = {concurrent}
            "#
        )
    };
    let dialect = Dialect::OpenAiChat;
    let ask_of = |play: &mut Play, model: &str, fields: &[(&str, &str)]| {
        let mut body = request(dialect, false);
        body["model"] = model.into();
        play.ask_body(dialect, &body, fields)
    };
    let mut play = Play::new(&config(2));
    let brief = [("x-tollgate-timeout", "3")];
    for _ in 0..2 {
        ask_of(&mut play, "asked", &brief);
    }
    for model in ["three", "four"] {
        ask_of(&mut play, model, &[]);
    }
    let asked = play.pending().len();
    assert_eq!(asked, 4);
    let waiting = [0, 1].map(|_| {
        play.world.pass(Duration::from_millis(1));
        ask_of(&mut play, "asked", &[])
    });
    play.reload(&config(1));
    // Both targets are free in one instant, and both providers are as full as may be.
    play.world.pass(Duration::from_secs(3));
    assert_eq!(play.world.usage().looks, 0);
    assert_eq!(play.world.usage().waiting, 2);
    assert_eq!(play.pending().len(), 2);
    for _ in 0..2 {
        let (conn, ..) = play.pending()[0];
        play.reply_on(conn, &well(dialect, false));
    }
    assert_eq!(play.pending().len(), 2);
    for _ in 0..2 {
        let (conn, ..) = play.pending()[0];
        play.reply_on(conn, &well(dialect, false));
    }
    for client in waiting {
        assert_eq!(play.answer(client).status(), 200);
    }
    play.world.finish();
}

#[test]
fn a_line_that_a_reload_has_emptied_is_as_any_other() {
    let config = |places: u32| format!("queue.concurrent_per_client = {places}\n{TWO_MODELS}");
    let wide = |play: &mut Play| {
        let mut body = request(Dialect::OpenAiChat, false);
        body["model"] = "other".into();
        play.ask_body(Dialect::OpenAiChat, &body, &[])
    };
    let mut play = Play::new(&config(1));
    wide(&mut play);
    wide(&mut play);
    assert_eq!(play.world.usage().waiting, 1);
    play.reload(&config(2));
    assert_eq!((play.world.usage().waiting, play.pending().len()), (0, 2));
    play.world.pass(Duration::from_secs(60));
    let patient = wide(&mut play);
    play.world.pass(Duration::from_secs(9));
    assert!(play.is_silent(patient), "nobody has stood there");
    play.world.finish();
}
