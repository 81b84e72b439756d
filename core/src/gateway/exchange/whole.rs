//! Answers that are held whole before the client sees any of them: those that do not stream, and
//! errors. So a cut-off body never looks like an answer, and an error gets its true status.

use bytes::Bytes;

use crate::base::OutBuf;
use crate::base::limits::JsonLimits;
use crate::dialect::{Dialect, ReplyMeta, StreamEncoder, Watched};
use crate::ir::{Class, Failure, replay};
use crate::wire::coding::{self, Codings};
use crate::wire::json::Tape;

/// A whole answer, to be turned into what the client wants.
#[derive(Debug)]
pub struct Finish {
    pub(in crate::gateway) upstream: Dialect,
    pub(in crate::gateway) client: Dialect,
    /// Whether the client wants a stream, though the upstream answered whole.
    pub(in crate::gateway) stream: bool,
    pub(in crate::gateway) codings: Codings,
    pub(in crate::gateway) body: Bytes,
    pub(in crate::gateway) meta: ReplyMeta,
    pub(in crate::gateway) limits: JsonLimits,
    pub(in crate::gateway) bytes_max: usize,
}

/// What the client gets.
#[derive(Debug, Default)]
pub struct Finished {
    pub(in crate::gateway) body: OutBuf,
    pub(in crate::gateway) watched: Watched,
}

impl Finish {
    /// Reads the answer and writes it in the client's API.
    pub(in crate::gateway) fn run(self, tape: &mut Tape) -> Result<Box<Finished>, Box<Failure>> {
        let decoded = coding::decode_whole(&self.codings, &self.body, self.bytes_max);
        let body = decoded.map_err(|error| {
            let message = format!("the upstream's content-encoding: {error}");
            Box::new(Failure::new(Class::BadGateway, message))
        })?;
        let finished = self.finish(&body, tape);
        tape.shrink();
        finished.map(Box::new)
    }

    fn finish(&self, body: &Bytes, tape: &mut Tape) -> Result<Finished, Box<Failure>> {
        let root = tape.parse(body, &self.limits).map_err(|error| {
            let start = String::from_utf8_lossy(body.get(..80).unwrap_or(body)).into_owned();
            let message =
                format!("the upstream's answer is not valid JSON: {error}; it begins {start:?}");
            Box::new(Failure::new(Class::BadGateway, message))
        })?;
        let mut finished = Finished::default();
        if self.upstream == self.client && !self.stream {
            finished.watched = self.upstream.watch_response(root)?;
            finished.body.push(body.clone());
            return Ok(finished);
        }
        let response = self.upstream.decode_response(root)?;
        finished.watched = Watched {
            usage: response.usage.unwrap_or_default(),
            model: response.model.as_ref().map(|model| model.detach()),
            finish: response
                .choices
                .first()
                .map(|choice| choice.finish.reason.clone()),
        };
        if self.stream {
            let mut encoder = StreamEncoder::new(self.client, self.meta.clone());
            let mut deltas = Vec::new();
            replay(response, &mut deltas);
            for delta in deltas {
                encoder.delta(delta, &mut finished.body);
            }
        } else {
            self.client
                .encode_response(&response, &self.meta, &mut finished.body);
        }
        Ok(finished)
    }
}
