//! `tollgate translate`: one request or answer from one API to another, as the gateway would do it.
//! Input comes from stdin, the translation goes to stdout, and what is to be said about it to
//! stderr.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use tollgate_core::base::{JsonStr, Limits, OutBuf, UnixMillis};
use tollgate_core::config::traits_for;
use tollgate_core::dialect::{Dialect, ReplyMeta, StreamDecoder, StreamEncoder, Target, Traits};
use tollgate_core::ir::{Delta, Failure};
use tollgate_core::wire::json::{JsonError, Tape, Value};
use tollgate_core::wire::sse;

use crate::cli::TranslateArgs;
use crate::fault::Fault;
use crate::say::say;

/// Read at once from a stream, which is translated as it comes.
const READ_BYTES: usize = 64 * 1024;

/// Translates.
pub(crate) fn run(args: &TranslateArgs) -> Result<ExitCode, Fault> {
    let (from, to) = (args.from.0, args.to.0);
    if from == to {
        let name = from.name();
        return Err(Fault::Other(format!(
            "both sides speak {name}: the gateway passes such bodies on as they are"
        )));
    }
    let limits = Limits::default();
    let model = args.model.as_deref().map(JsonStr::escape);
    if args.stream {
        return stream(from, to, model, &limits);
    }
    let bytes_max = match args.response {
        true => limits.shard.response_bytes_max,
        false => limits.shard.request_bytes_max,
    };
    let text = input(bytes_max)?;
    let mut tape = Tape::new();
    let value = tape
        .parse(&text, &limits.json)
        .map_err(|error| not_json(&error))?;
    let mut body = match args.response {
        true => response(from, to, value, model, &limits)?,
        false => request(from, to, value, model)?,
    };
    body.put(b"\n");
    print(&mut body)?;
    Ok(ExitCode::SUCCESS)
}

fn request(
    from: Dialect,
    to: Dialect,
    value: Value<'_>,
    model: Option<JsonStr>,
) -> Result<OutBuf, String> {
    let request = from
        .decode_request(value)
        .map_err(|failure| refused(&failure))?;
    let own = || value.get("model").and_then(Value::as_str);
    let model = model
        .or_else(own)
        .ok_or("the request names no model, and --model neither")?;
    let told = traits_for(&model.unescape());
    let usual = Traits::default();
    let traits = Traits {
        output_tokens_default: told
            .output_tokens_default
            .unwrap_or(usual.output_tokens_default),
        thinking: told.thinking.unwrap_or(usual.thinking),
        sampling: told.sampling.unwrap_or(usual.sampling),
        ..usual
    };
    let target = Target {
        model: &model,
        traits: &traits,
        extra: &[],
    };
    let encoded = to
        .encode_request(&request, &target)
        .map_err(|failure| refused(&failure))?;
    for path in &encoded.dropped {
        say!("dropped: {path}");
    }
    Ok(encoded.body)
}

fn response(
    from: Dialect,
    to: Dialect,
    value: Value<'_>,
    model: Option<JsonStr>,
    limits: &Limits,
) -> Result<OutBuf, String> {
    let mut response = from
        .decode_response(value)
        .map_err(|failure| refused(&failure))?;
    if let Some(model) = &model {
        response.model = Some(model.clone());
    }
    let mut body = OutBuf::new();
    to.encode_response(&response, &meta(model, limits), &mut body);
    Ok(body)
}

fn stream(
    from: Dialect,
    to: Dialect,
    model: Option<JsonStr>,
    limits: &Limits,
) -> Result<ExitCode, Fault> {
    let mut stream = Stream {
        frames: sse::Decoder::new(&limits.sse),
        decoder: StreamDecoder::new(from, limits),
        encoder: StreamEncoder::new(to, meta(model.clone(), limits)),
        model,
        deltas: Vec::new(),
        out: OutBuf::new(),
        broken_events: 0,
    };
    let mut held = BytesMut::new();
    let mut stdin = io::stdin().lock();
    let mut piece = vec![0; READ_BYTES];
    loop {
        let count = stdin.read(&mut piece).map_err(|error| unreadable(&error))?;
        held.extend_from_slice(piece.get(..count).unwrap_or_default());
        let is_end = count == 0;
        let input = held.split().freeze();
        let used = stream.take(&input, is_end)?;
        held = BytesMut::from(input.get(used..).unwrap_or_default());
        print(&mut stream.out)?;
        if is_end {
            break;
        }
    }
    match stream.broken_events {
        0 => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// A streamed answer on its way.
struct Stream {
    frames: sse::Decoder,
    decoder: StreamDecoder,
    encoder: StreamEncoder,
    /// Replaces the model's name.
    model: Option<JsonStr>,
    deltas: Vec<Delta>,
    out: OutBuf,
    broken_events: u32,
}

impl Stream {
    /// Translates the whole events in `input`, and tells how much of it will not be looked at
    /// again.
    fn take(&mut self, input: &Bytes, is_end: bool) -> Result<usize, String> {
        loop {
            let frame = match is_end {
                true => self.frames.finish(input),
                false => self.frames.next(input),
            };
            let Some(frame) = frame.map_err(|error| error.to_string())? else {
                break;
            };
            let name = frame.name;
            let data = frame.data.into_bytes(input);
            if let Err(broken) = self.decoder.event(name, &data, &mut self.deltas) {
                self.broken_events += 1;
                say!("skipped an event: {}", broken.reason);
            }
            self.write();
        }
        if is_end {
            self.decoder.end_of_body(&mut self.deltas);
            self.write();
        }
        Ok(self.frames.rebase())
    }

    fn write(&mut self) {
        for mut delta in self.deltas.drain(..) {
            if let (Delta::Start(start), Some(model)) = (&mut delta, &self.model) {
                start.model = Some(model.clone());
            }
            self.encoder.delta(delta, &mut self.out);
        }
    }
}

fn meta(model: Option<JsonStr>, limits: &Limits) -> ReplyMeta {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    ReplyMeta {
        id: JsonStr::from_static("translated"),
        model: model.unwrap_or(JsonStr::from_static("unknown")),
        created: UnixMillis(u64::try_from(now.as_millis()).unwrap_or(0)),
        stream_usage: true,
        input_tokens_estimate: 0,
        held_bytes_max: limits.shard.held_delta_bytes_max,
    }
}

fn input(bytes_max: usize) -> Result<Bytes, String> {
    let mut text = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let mut stdin = io::stdin().lock().take(limit.saturating_add(1));
    stdin
        .read_to_end(&mut text)
        .map_err(|error| unreadable(&error))?;
    if text.len() > bytes_max {
        return Err(format!("the input is longer than {bytes_max} bytes"));
    }
    Ok(text.into())
}

fn print(out: &mut OutBuf) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let mut written = Ok(());
    for part in out.take_parts() {
        written = written.and_then(|()| stdout.write_all(&part));
    }
    let flushed = written.and_then(|()| stdout.flush());
    flushed.map_err(|error| format!("cannot write to stdout: {error}"))
}

fn refused(failure: &Failure) -> String {
    failure.message.unescape().into_owned()
}

fn not_json(error: &JsonError) -> String {
    format!("the input is not valid JSON: {error}")
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot read stdin: {error}")
}
