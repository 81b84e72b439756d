//! The list of models: `GET /v1/models` and `GET /v1/models/{id}`.

use crate::base::OutBuf;
use crate::dialect::ModelEntry;
use crate::wire::json::Writer;

/// Writes `{"object":"list","data":[…]}`.
pub fn list(models: &[ModelEntry], out: &mut OutBuf) {
    let mut json = Writer::new(out);
    json.begin_object();
    json.key("object");
    json.text("list");
    json.key("data");
    json.begin_array();
    for model in models {
        write(model, &mut json);
    }
    json.end_array();
    json.end_object();
}

/// Writes one model.
pub fn one(model: &ModelEntry, out: &mut OutBuf) {
    write(model, &mut Writer::new(out));
}

fn write(model: &ModelEntry, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("id");
    json.str(&model.id);
    json.key("object");
    json.text("model");
    json.key("created");
    json.u64(model.created);
    json.key("owned_by");
    json.str(&model.owner);
    json.end_object();
}
