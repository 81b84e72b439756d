//! Every kind of fault, as people see it.

use super::load_with;

/// A config with a bit of everything wrong.
pub(super) const EVERYTHING: &str = include_str!("faulty.toml");

/// What is said of `text`: place and message and help of each problem.
pub(super) fn said(text: &str) -> Vec<String> {
    let Err(faults) = load_with(text, &[("EMPTY", ""), ("SPACED", "a b")]) else {
        return Vec::new();
    };
    let problems = faults.problems.iter();
    problems
        .map(|problem| {
            let (line, column) = (problem.line, problem.column);
            let help = problem.help.as_deref().unwrap_or("-");
            format!("{line}:{column} {} | {help}", problem.message)
        })
        .collect()
}

#[test]
fn all_faults_are_shown_at_once() {
    let faults = load_with(EVERYTHING, &[]).expect_err("it is faulty");
    let shown = faults.to_string();
    let expected = include_str!("faulty.txt");
    assert_eq!(shown.trim_end(), expected.trim_end(), "\n{shown}");
}

#[test]
fn faults_of_syntax_are_shown_without_secrets() {
    let text = "[providers.x]\nkey = \"sk-hidden\" \"\napi_key = sk-hidden\nproxy = 'p-hidden\n\
        headers = { \"authorization\" = \"Bearer hidden\" x }\n[models\na = 1\na = 2\n";
    let shown = load_with(text, &[]).expect_err("it is faulty").to_string();
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(shown.contains("--> t.toml:2:"), "{shown}");
    assert!(shown.contains("--> t.toml:6:"), "{shown}");
    let twice = said("workers = 1\nworkers = 2");
    assert_eq!(twice, ["2:1 duplicate key | -"]);
}

#[test]
fn no_key_of_many_is_shown() {
    for text in [
        "[providers.groq]\nkey = [\"sk-hidden-1\", \"sk-hidden-1\"]",
        "[providers.groq]\nkey = [\n  \"sk-hidden-1\", # one\n\n  \"sk-hidden-1\",\n]",
        "[providers.groq]\nkey = [\"sk-hidden-1\", \"sk-hidden-2\" x]",
        "[providers.groq]\nkey = [\n  'sk-hidden-1',\n  \"sk-hidden==\" \"sk-hidden-3\"\n]",
        "[providers.groq]\nkey = [\n  \"sk-hidden-1\"\n  \"sk-hidden-2\"]\nkey = 1",
        "[providers.groq]\n\"key\" = [ # many\n  \"sk-hidden-1\",\n  \"sk-hidden-2",
        "[providers]\ngroq = { key = [\"sk-hidden-1\", \"sk-hidden-1\"], timers = {} }",
        "[providers.groq]\nkey_env = [\"EMPTY\"]\napi_key = [\n\"sk-hidden\",\n\"a\" ]",
    ] {
        let shown = load_with(text, &[("EMPTY", "")]).expect_err(text);
        let shown = shown.to_string();
        assert!(!shown.contains("hidden"), "{shown}");
    }
    // What only names keys, or counts, is.
    let text = "[providers.groq]\nkey_env = [\"GONE\"]\nkey_limits = { tokens_per_minute = 0 }";
    let shown = load_with(text, &[]).expect_err("no key").to_string();
    assert!(shown.contains("key_env = [\"GONE\"]"), "{shown}");
    assert!(shown.contains("tokens_per_minute = 0 }"), "{shown}");
}

/// Asserts that `text` has just one problem, as given.
pub(super) fn one(text: &str, expected: &str) {
    assert_eq!(said(text), [expected], "\n{text}");
}

#[test]
fn wrong_types_are_named() {
    for (text, expected) in [
        (
            "workers = \"2\"",
            "1:11 `workers` must be a whole number, not a string | -",
        ),
        (
            "workers = -1",
            "1:11 `workers` must be a whole number from 1 to 1024 | -",
        ),
        (
            "runtime = 1",
            "1:11 `runtime` must be a string, not an integer | -",
        ),
        (
            "models = []",
            "1:10 `models` must be a table, not an array | -",
        ),
        (
            "limits = 1.5",
            "1:10 `limits` must be a table, not a float | -",
        ),
        (
            "listeners = \"127.0.0.1:1\"",
            "1:13 `listeners` must be tables that begin with `[[listeners]]`, not a string | -",
        ),
        (
            "[callers]\nname = \"x\"",
            "1:1 `callers` must be tables that begin with `[[callers]]`, not a table | -",
        ),
        (
            "callers = [1]",
            "1:12 an item of `callers` must be a table, not an integer | -",
        ),
        (
            "providers_from_environment = 1979-05-27",
            "1:30 `providers_from_environment` must be true or false, not a datetime | -",
        ),
        (
            "[providers]\nx = 1",
            "2:5 provider `x` must be a table, not an integer | -",
        ),
        (
            "[models]\nx = true",
            "2:5 model `x` must be a target, an array of targets or a table, not a boolean | -",
        ),
        (
            "[timers]\nidle = 1.5",
            "2:8 `idle` must be a string, not a float | -",
        ),
        (
            "[limits]\nhead_bytes_max = true",
            "2:18 `head_bytes_max` must be a size such as \"64KiB\", not a boolean | -",
        ),
        (
            "[providers.ollama]\nmodels = [\"a\", 1]",
            "2:16 an item of `models` must be a string, not an integer | -",
        ),
        (
            "[providers.ollama.headers]\nx = 1",
            "2:5 the header `x` must be a string, not an integer | -",
        ),
    ] {
        one(text, expected);
    }
}

#[test]
fn unknown_keys_are_told_from_misspelt_ones() {
    for (text, expected) in [
        (
            "limit = 1",
            "1:1 unknown key `limit` | did you mean `limits`?",
        ),
        (
            "[anthropic]\nkey = \"x\"",
            "1:2 unknown key `anthropic` | if it is a provider, write `[providers.anthropic]`",
        ),
        (
            "[timers]\nconect = \"1s\"",
            "2:1 unknown key `conect` in [timers] | did you mean `connect`?",
        ),
        (
            "[providers.ollama.traits]\nmax_token = 1",
            "2:1 unknown key `max_token` in [providers.ollama.traits] | did you mean `max_tokens`?",
        ),
        (
            "[models]\nx = { target = \"demo\", parameter = {} }",
            "2:24 unknown key `parameter` in [models.\"x\"] | did you mean `parameters`?",
        ),
    ] {
        one(text, expected);
    }
}

#[test]
fn faults_of_keys_name_their_source() {
    let callers = |rest: &str| format!("[[callers]]\nname = \"c\"\n{rest}");
    for (rest, expected) in [
        (
            "key_env = \"GONE\"",
            "3:11 the environment has no variable `GONE` | -",
        ),
        ("key_env = \"EMPTY\"", "3:11 the key is empty | -"),
        (
            "key_env = \"SPACED\"",
            "3:11 the key holds blanks or characters that no header can carry | -",
        ),
        (
            "key_file = \"gone\"",
            "3:12 cannot read `gone`: no such file | -",
        ),
        ("key_file = \"binary\"", "3:12 `binary` is not text | -"),
        (
            "key_sha256 = \"abc\"",
            "3:14 `key_sha256` must be 64 hexadecimal digits | \
             `printf %s KEY | sha256sum` prints them",
        ),
        (
            "key = \"k\"\nkey_env = \"GONE\"",
            "4:1 `key` and `key_env` are both set | leave one of them out",
        ),
        (
            "",
            "1:1 caller \"c\" has no key | set `key_env`, `key_file`, `key_sha256` or `key`",
        ),
        (
            "key = \"k\"\n[[callers]]\nname = \"c\"\nkey = \"l\"",
            "5:8 a second caller is named \"c\" | -",
        ),
        (
            "key = \"k\"\n[[callers]]\nname = \"d\"\nkey = \"k\"",
            "4:1 caller \"d\" has the key of another caller | -",
        ),
    ] {
        one(&callers(rest), expected);
    }
    one(
        "[[callers]]\nkey = \"k\"",
        "1:1 a caller needs a `name`, which logs show | -",
    );
    one(
        "callers = []\n[[listeners]]\naddress = \"[::]:1\"",
        "3:11 [::]:1 can be reached from elsewhere, and there are no callers | \
         add `[[callers]]` with a `name` and a `key_env`, or listen on 127.0.0.1",
    );
}

#[test]
fn faults_of_listeners_say_what_to_write() {
    one(
        "listeners = [{ address = \"localhost:1\" }]",
        "1:26 \"localhost:1\" is not an address to listen on | write \"127.0.0.1:1\"",
    );
    one(
        "[[listeners]]\naddress = \"[::1]:1\"\n[[listeners]]\naddress = \"[::1]:1\"",
        "4:11 a second listener has the address [::1]:1 | -",
    );
    assert!(said("listeners = [{ address = \"[::1]:0\" }, { address = \"[::1]:0\" }]").is_empty());
}

#[test]
fn faults_of_providers_say_what_to_write() {
    let x = |rest: &str| format!("[providers.ollama]\n{rest}");
    for (rest, expected) in [
        (
            "preset = \"opnai\"",
            "2:10 no provider called \"opnai\" is known | did you mean \"openai\"?",
        ),
        (
            "base_url = \"h:1\"",
            "2:12 the URL has no scheme | begin with `https://` or `http://`",
        ),
        (
            "base_url = \"http://h:99999\"",
            "2:12 `:99999` is not a port from 1 to 65535 | -",
        ),
        (
            "dialect = \"openai\"",
            "2:11 `dialect` cannot be \"openai\" | it is one of \"anthropic\", \"openai-chat\"",
        ),
        (
            "credentials = \"clients\"",
            "2:15 `credentials` cannot be \"clients\" | did you mean \"client\"?",
        ),
        (
            "key = \"k\"\ncredentials = \"client\"",
            "3:1 `key` and `credentials` are both set | leave one of them out",
        ),
        (
            "authorization = \"x api key\"",
            "2:17 `authorization` cannot be \"x api key\" | it is \"bearer\", or the name of the \
             header that carries the key: \"x-api-key\"",
        ),
        (
            "authorization = \"Host\"",
            "2:17 the key cannot be sent in `host` | -",
        ),
    ] {
        one(&x(rest), expected);
    }
}

#[test]
fn faults_of_headers_and_lists_are_found_in_providers() {
    let x = |rest: &str| format!("[providers.ollama]\n{rest}");
    for (rest, expected) in [
        (
            "client_headers = [\"X-Api-Key\"]",
            "2:19 `x-api-key` holds credentials | `credentials = \"client\"` passes on the \
             clients' own",
        ),
        (
            "client_headers = [\"a*b\"]",
            "2:19 \"a*b\" has a `*` before its end | -",
        ),
        (
            "headers = { a = \"x\\ny\" }",
            "2:17 a header value holds visible ASCII characters, and blanks between them | -",
        ),
        (
            "headers = { a = \"1\", A = \"2\" }",
            "2:22 the header `a` is set twice | -",
        ),
        (
            "ca_file = \"key.txt\"",
            "2:11 `key.txt`: no `-----BEGIN CERTIFICATE-----` is in it | -",
        ),
        ("models = [\"a b\"]", "2:11 \"a b\" has a blank in it | -"),
        (
            "listed = [\"a*\"]",
            "2:11 \"a*\" is many models, not one to list | -",
        ),
        (
            "timers = { idle = \"9d\" }",
            "2:19 \"9d\" is out of range: from 1ms to 7d | -",
        ),
        (
            "traits = { context_window = 0 }",
            "2:29 `context_window` must be a whole number from 1 to 10000000 | -",
        ),
        (
            "traits = { images = 1 }",
            "2:21 `images` must be true or false, not an integer | -",
        ),
        (
            "traits = { thinking = \"adaptiv\" }",
            "2:23 `thinking` cannot be \"adaptiv\" | did you mean \"adaptive\"?",
        ),
    ] {
        one(&x(rest), expected);
    }
}

#[test]
fn faults_of_unknown_providers_say_what_is_missing() {
    let bad_der = said("[providers.ollama]\nca_file = \"bad.pem\"");
    assert!(bad_der[0].starts_with("2:11 `bad.pem`: "), "{bad_der:?}");
    one(
        "[providers.\"a/b\"]\npreset = \"ollama\"",
        "1:12 \"a/b\" cannot be the name of a provider | use letters, digits, `-`, `_` and `.`",
    );
    one(
        "[providers.box]\ndialect = \"anthropic\"\ncredentials = \"none\"",
        "1:12 provider `box` needs `base_url` | -",
    );
    one(
        "[providers.box]\nbase_url = \"https://b\"\ncredentials = \"none\"",
        "1:12 provider `box` needs `dialect`: the API it speaks | \
         it is \"openai-chat\" or \"anthropic\"",
    );
}

#[test]
fn dangling_models_are_helped_to_a_target() {
    for (models, expected) in [
        (
            "a = \"openai/gpt-5\"",
            "4:5 no provider is called `openai` | \
             add `[providers.openai]`, with its key in OPENAI_API_KEY",
        ),
        (
            "a = \"llama-3.3\"",
            "4:5 no provider is called `llama-3.3` | write `groq/llama-3.3`",
        ),
        (
            "a = \"demmo\"",
            "4:5 no provider is called `demmo` | did you mean `demo`?",
        ),
        (
            "a = \"elsewhere\"",
            "4:5 no provider is called `elsewhere` | a target is `provider/model`, and the \
             provider has a table `[providers.NAME]`",
        ),
        (
            "a = \"groq/\"",
            "4:5 \"groq/\" does not name a model | write only \"groq\" to keep the name that the \
             client asked for",
        ),
        (
            "\"x*\" = { target = \"demo\", listed = true }",
            "4:27 `x*` is many models, not one to list | -",
        ),
        (
            "a = { max_tokens = 1, traits = {} }",
            "4:1 model `a` has no `target` | write `target = \"provider/model\"`",
        ),
        (
            "a = { target = \"demo\", max_tokens = 0 }",
            "4:37 `max_tokens` must be a whole number from 1 to 10000000 | -",
        ),
    ] {
        let text = format!("[providers.groq]\nkey = \"k\"\n[models]\n{models}");
        one(&text, expected);
    }
}

#[test]
fn limits_have_ranges() {
    for (limits, expected) in [
        (
            "write_bytes_max = 1",
            "2:19 `write_bytes_max` must be a size from 1 KiB to 1 MiB | -",
        ),
        (
            "request_bytes_max = \"1GiB\"",
            "2:1 `request_bytes_max` is more than `bodies_bytes_max`: no such request could be \
             taken | raise `bodies_bytes_max`, which is for all requests at once",
        ),
        (
            "fields_max = 99999999999999999999",
            "2:14 `fields_max` must be a whole number from 16 to 4096 | -",
        ),
    ] {
        one(&format!("[limits]\n{limits}"), expected);
    }
    let long = format!("#{}", "x".repeat(4 * 1024 * 1024));
    one(&long, "1:1 the config is longer than 4 MiB | -");
}
