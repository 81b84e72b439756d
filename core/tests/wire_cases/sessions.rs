//! Conversations and the keys that they are asked with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;

use super::fixtures::request;
use super::play::{Play, TWO_KEYS, well};
use super::support::talk;
use super::support::world::End;

const KEYS: usize = 8;
const SESSIONS: usize = 64;

/// One provider with eight keys.
fn config() -> String {
    let keys: Vec<_> = (0..KEYS).map(|at| format!("\"key-{at}\"")).collect();
    TWO_KEYS.replace("\"key-1\", \"key-2\"", &keys.join(", "))
}

/// How a conversation can be known.
#[derive(Clone, Copy, Debug)]
enum Known {
    Field,
    Metadata,
    CacheKey,
    User,
    Beginning,
    SystemAndBeginning,
    /// With a mark for the cache, which stands elsewhere in the next turn.
    MarkedBeginning,
}

impl Known {
    const ALL: [Known; 7] = [
        Known::Field,
        Known::Metadata,
        Known::CacheKey,
        Known::User,
        Known::Beginning,
        Known::SystemAndBeginning,
        Known::MarkedBeginning,
    ];

    fn dialect(self) -> Dialect {
        match self {
            Known::Field | Known::Metadata | Known::MarkedBeginning => Dialect::Anthropic,
            Known::CacheKey | Known::User | Known::Beginning | Known::SystemAndBeginning => {
                Dialect::OpenAiChat
            }
        }
    }

    /// The turn number `turn` of conversation `name`.
    fn turn(self, name: &str, turn: usize) -> Vec<u8> {
        let dialect = self.dialect();
        let mut body = request(dialect, false);
        let opening = match self {
            Known::Beginning | Known::SystemAndBeginning | Known::MarkedBeginning => {
                format!("I am {name}.")
            }
            // Another beginning each time: it is not that which is known.
            _ => format!("Turn {turn} of {name}"),
        };
        let mut messages = vec![json!({"role": "user", "content": opening})];
        if let Known::MarkedBeginning = self {
            let mut part = json!({"type": "text", "text": opening});
            if turn == 0 {
                part["cache_control"] = json!({"type": "ephemeral"});
            }
            messages[0]["content"] = json!([part]);
            body["system"] = "You are of use.".into();
        }
        if let Known::SystemAndBeginning = self {
            messages.insert(0, json!({"role": "system", "content": "You are of use."}));
        }
        for at in 0..turn {
            messages.push(json!({"role": "assistant", "content": format!("Answer {at}.")}));
            messages.push(json!({"role": "user", "content": "Go on."}));
        }
        body["messages"] = Json::Array(messages);
        let mut fields = Vec::new();
        match self {
            Known::Field => fields.push(("x-claude-code-session-id", name)),
            Known::Metadata => body["metadata"] = json!({"user_id": name}),
            Known::CacheKey => body["prompt_cache_key"] = name.into(),
            Known::User => body["user"] = name.into(),
            Known::Beginning | Known::SystemAndBeginning | Known::MarkedBeginning => {}
        }
        talk::request(dialect, &fields, &body)
    }
}

#[test]
fn case_11_a_conversation_keeps_its_key_and_conversations_spread_over_all() {
    for known in Known::ALL {
        let mut play = Play::new(&config());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for session in 0..SESSIONS {
            let name = format!("session-{session}");
            let mut keys = BTreeSet::new();
            for turn in 0..3 {
                let client = play.world.client();
                play.world.send(client, known.turn(&name, turn));
                keys.insert(play.reply_to_key(&well(Dialect::OpenAiChat, false)));
                assert_eq!(play.answer(client).status(), 200);
                play.world.hang_up(client, End::Fin);
            }
            assert_eq!(keys.len(), 1, "{known:?}, {name}: {keys:?}");
            *counts.entry(keys.pop_first().unwrap()).or_default() += 1;
        }
        assert_eq!(counts.len(), KEYS, "{known:?}: {counts:?}");
        let most = counts.values().max().unwrap();
        assert!(*most < 3 * SESSIONS / KEYS, "{known:?}: {counts:?}");
    }
}
