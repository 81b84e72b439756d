//! What an answer took, in tokens.

/// Token counts. A count that was not told is `None`, which is not zero.
///
/// The counts include each other as in OpenAI's API: cached tokens are part of `input`, reasoning
/// is part of `output`. Messages reports cached tokens apart; its translator adds and subtracts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// All tokens of the prompt, those read from and written to the cache included.
    pub input: Option<u64>,
    /// Of these, read from the cache.
    pub cache_read: Option<u64>,
    /// Of these, written to the cache.
    pub cache_write: Option<u64>,
    /// Of those written, kept for an hour (Messages `cache_creation.ephemeral_1h_input_tokens`).
    pub cache_write_1h: Option<u64>,
    /// Of the prompt, sound.
    pub audio_input: Option<u64>,
    /// All tokens generated, reasoning included.
    pub output: Option<u64>,
    /// Of these, reasoning.
    pub reasoning: Option<u64>,
    /// Of these, sound.
    pub audio_output: Option<u64>,
    /// Calls of the provider's web search, billed apart.
    pub web_searches: Option<u64>,
}

impl Usage {
    /// Takes over each count that `later` tells. Streams report cumulative counts, more than once,
    /// and not always all of them.
    pub fn update(&mut self, later: &Usage) {
        fn take(count: &mut Option<u64>, later: Option<u64>) {
            if later.is_some() {
                *count = later;
            }
        }
        take(&mut self.input, later.input);
        take(&mut self.cache_read, later.cache_read);
        take(&mut self.cache_write, later.cache_write);
        take(&mut self.cache_write_1h, later.cache_write_1h);
        take(&mut self.audio_input, later.audio_input);
        take(&mut self.output, later.output);
        take(&mut self.reasoning, later.reasoning);
        take(&mut self.audio_output, later.audio_output);
        take(&mut self.web_searches, later.web_searches);
    }

    /// Prompt tokens that were neither read from nor written to the cache: Messages `input_tokens`.
    pub fn uncached_input(&self) -> Option<u64> {
        let cached = self
            .cache_read
            .unwrap_or(0)
            .saturating_add(self.cache_write.unwrap_or(0));
        self.input.map(|input| input.saturating_sub(cached))
    }

    /// Prompt and answer together.
    pub fn total(&self) -> Option<u64> {
        Some(self.input?.saturating_add(self.output?))
    }
}
