//! Each key of `[retry]` and `[breaker]`, and what it changes. Those of `key_limits` are with the
//! keys.

use std::time::Duration;

use tollgate_core::config::{Resolved, Surroundings, load};
use tollgate_core::dialect::Dialect;

use super::play::{CHAIN, FIRST, Play, SECOND, error, well};

/// No breaker opens, and repetitions are not counted.
const PATIENT: &str = "breaker.failures_in_row = 1000\nbreaker.failure_percent = 100\n\
    breaker.calls_min = 1000000\nretry.budget_percent = 100\n";

/// A failure is told to the breaker once, and the request goes on to the second target.
const ONCE: &str = "retry.repeats_max = 0\n";

/// A chain with settings above it.
fn chain(settings: &str) -> Play {
    Play::new(&format!("{settings}{CHAIN}"))
}

/// The first target alone, with settings above it.
fn alone(settings: &str) -> Play {
    Play::new(&format!("{settings}{}", super::play::alone()))
}

/// Asks and lets the first target fail each time; says how often it was asked.
fn fails(play: &mut Play, wait: Duration) -> usize {
    let client = play.ask(Dialect::Anthropic, false);
    let mut asked = 0;
    while play.pending().first().is_some_and(|it| it.1 == FIRST) {
        play.reply(&error(500));
        asked += 1;
        if play.pending().is_empty() {
            play.world.pass(wait);
        }
    }
    if !play.pending().is_empty() {
        assert_eq!(play.reply_well(false), SECOND);
    }
    play.answer(client);
    asked
}

/// Asks once, and the target that is asked answers well; says which it was.
fn goes_to(play: &mut Play) -> u16 {
    let client = play.ask(Dialect::Anthropic, false);
    let port = play.reply_well(false);
    assert_eq!(play.answer(client).status(), 200);
    port
}

#[test]
fn attempts_max_bounds_all_targets_together() {
    for (max, expected) in [(1, vec![FIRST]), (2, vec![FIRST, SECOND])] {
        let mut play = chain(&format!("retry.attempts_max = {max}\n{ONCE}"));
        let client = play.ask(Dialect::OpenAiChat, true);
        let mut asked = Vec::new();
        while !play.pending().is_empty() {
            asked.push(play.reply(&error(500)));
            play.back_off();
        }
        assert_eq!(asked, expected);
        assert_eq!(play.answer(client).status(), 500);
    }
}

#[test]
fn repeats_max_bounds_what_one_target_is_asked() {
    for max in [0, 1, 2] {
        let mut play = chain(&format!("{PATIENT}retry.repeats_max = {max}\n"));
        assert_eq!(fails(&mut play, Duration::from_secs(1)), max + 1);
    }
}

/// The longest wait before a repetition, of many.
fn longest_wait(settings: &str) -> Duration {
    let mut play = alone(&format!("{PATIENT}{settings}"));
    let step = Duration::from_millis(10);
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        play.ask(Dialect::Anthropic, false);
        play.reply(&error(500));
        let mut waited = Duration::ZERO;
        while play.pending().is_empty() {
            play.world.pass(step);
            waited += step;
        }
        play.reply_well(false);
        longest = longest.max(waited);
    }
    longest
}

#[test]
fn backoff_and_backoff_max_bound_the_wait_before_a_repetition() {
    let wait = longest_wait("retry.backoff = \"1s\"\n");
    assert!(wait > Duration::from_millis(500), "{wait:?}");
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    let wait = longest_wait("retry.backoff = \"10ms\"\n");
    assert!(wait <= Duration::from_millis(10), "{wait:?}");
    let wait = longest_wait("retry.backoff = \"1s\"\nretry.backoff_max = \"20ms\"\n");
    assert!(wait <= Duration::from_millis(20), "{wait:?}");
}

#[test]
fn backoff_max_is_the_longest_wait_while_another_target_could_answer() {
    let busy = error(503).field("retry-after", "1");
    for (settings, expected) in [("", FIRST), ("retry.backoff_max = \"500ms\"\n", SECOND)] {
        let mut play = chain(settings);
        play.ask(Dialect::Anthropic, false);
        play.reply(&busy);
        play.world.pass(Duration::from_secs(1));
        assert_eq!(play.reply_well(false), expected);
    }
}

#[test]
fn wait_max_is_the_longest_wait_that_an_upstream_may_ask_for() {
    for status in [429, 503] {
        let busy = error(status).field("retry-after", "20");
        let mut play = alone("retry.wait_max = \"30s\"\n");
        let client = play.ask(Dialect::OpenAiChat, false);
        play.reply(&busy);
        play.world.pass(Duration::from_millis(20_100));
        play.reply_well(false);
        assert_eq!(play.answer(client).status(), 200);
        let mut play = alone("retry.wait_max = \"19s\"\n");
        let client = play.ask(Dialect::OpenAiChat, false);
        play.reply(&busy);
        let answer = play.answer(client);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.field("retry-after"), Some("20"));
    }
}

#[test]
fn budget_percent_is_the_share_of_repetitions() {
    let asked = |percent: u32| {
        let settings =
            format!("{PATIENT}retry.backoff = \"1ms\"\nretry.budget_percent = {percent}\n");
        let settings = settings.replacen("retry.budget_percent = 100\n", "", 1);
        let mut play = alone(&settings);
        let wait = Duration::from_millis(1);
        (0..50).map(|_| fails(&mut play, wait)).sum::<usize>() - 50
    };
    // Ten that every target has, and what the first tries after the first earn.
    assert_eq!(asked(0), 10);
    assert_eq!(asked(20), 10 + 49 * 20 / 100);
    assert_eq!(asked(100), 50);
}

#[test]
fn failures_in_row_open_the_breaker() {
    for count in [1, 2, 5] {
        let mut play = chain(&format!("{ONCE}breaker.failures_in_row = {count}\n"));
        for _ in 0..count {
            assert_eq!(fails(&mut play, Duration::ZERO), 1);
        }
        assert_eq!(goes_to(&mut play), SECOND);
    }
}

/// How many calls the first target gets of which every other fails, `pause` apart, until its
/// breaker opens; 40 if it does not.
fn calls_until_open(settings: &str, pause: Duration) -> usize {
    let mut play = chain(&format!("{ONCE}breaker.failures_in_row = 1000\n{settings}"));
    for call in 0..40 {
        let asked = match call % 2 {
            0 => usize::from(goes_to(&mut play) == FIRST),
            _ => fails(&mut play, Duration::ZERO),
        };
        if asked == 0 {
            return call;
        }
        play.world.pass(pause);
    }
    40
}

#[test]
fn failure_percent_and_calls_min_open_the_breaker_by_share() {
    let pause = Duration::from_millis(10);
    for (settings, expected) in [
        ("breaker.calls_min = 4\nbreaker.failure_percent = 50\n", 4),
        ("breaker.calls_min = 10\nbreaker.failure_percent = 50\n", 10),
        ("breaker.calls_min = 4\nbreaker.failure_percent = 60\n", 40),
        ("", 20),
    ] {
        assert_eq!(calls_until_open(settings, pause), expected, "{settings}");
    }
}

#[test]
fn window_is_the_span_of_the_share() {
    let settings = "breaker.calls_min = 4\n";
    let pause = Duration::from_millis(600);
    assert_eq!(calls_until_open(settings, pause), 4);
    let short = format!("{settings}breaker.window = \"1s\"\n");
    assert_eq!(calls_until_open(&short, pause), 40);
}

#[test]
fn recovery_and_recovery_max_are_the_times_between_probes() {
    // Up to a tenth is added to each.
    let (second, ten) = (Duration::from_millis(1_100), Duration::from_millis(110));
    let open = |settings: &str| {
        let mut play = chain(&format!("{ONCE}breaker.failures_in_row = 1\n{settings}"));
        fails(&mut play, Duration::ZERO);
        play
    };
    let mut play = open("");
    play.world.pass(second);
    assert_eq!(goes_to(&mut play), SECOND);
    let mut play = open("breaker.recovery = \"1s\"\n");
    play.world.pass(Duration::from_millis(900));
    assert_eq!(goes_to(&mut play), SECOND);
    play.world.pass(Duration::from_millis(200));
    assert_eq!(fails(&mut play, Duration::ZERO), 1, "the probe");
    play.world.pass(second);
    assert_eq!(goes_to(&mut play), SECOND, "twice as long");
    play.world.pass(second);
    assert_eq!(goes_to(&mut play), FIRST);
    let mut play = open("breaker.recovery = \"1s\"\nbreaker.recovery_max = \"1s\"\n");
    for _ in 0..3 {
        play.world.pass(second);
        assert_eq!(fails(&mut play, Duration::ZERO), 1, "a probe");
    }
    let mut play = open("breaker.recovery_max = \"100ms\"\n");
    play.world.pass(ten);
    assert_eq!(goes_to(&mut play), FIRST);
}

#[test]
fn target_headers_can_be_turned_off() {
    for is_stream in [false, true] {
        for (settings, target) in [("", Some("first/one")), ("target_headers = false\n", None)] {
            let mut play = chain(settings);
            let client = play.ask(Dialect::Anthropic, is_stream);
            play.reply(&well(Dialect::Anthropic, is_stream));
            let answer = play.answer(client);
            assert_eq!(answer.field("x-tollgate-target"), target);
            assert_eq!(answer.field("x-tollgate-attempts"), target.map(|_| "1"));
        }
    }
}

#[test]
fn the_examples_of_the_readme_load() {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let mut chains = 0;
    for block in blocks {
        let surroundings = Surroundings {
            env: &|name| name.contains("KEY").then(|| format!("key-of-{name}")),
            read_file: &|_| Err("no such file".to_owned()),
            roots: &[],
        };
        let loaded = load("README.md", block, &surroundings);
        let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let Some(Resolved::Chain(chain)) = loaded.snapshot.resolve("claude-opus-4-8") else {
            panic!("it leads nowhere");
        };
        chains += usize::from(chain.steps.len() == 3);
    }
    assert_eq!(chains, 1);
}
