//! The list of models (`GET /v1/models`) in the shape that Messages clients expect.

use crate::base::OutBuf;
use crate::dialect::ModelEntry;
use crate::wire::json::Writer;

/// Writes the list, whole: it is never paged.
pub fn list(models: &[ModelEntry], out: &mut OutBuf) {
    let mut json = Writer::new(out);
    json.begin_object();
    json.key("data");
    json.begin_array();
    for model in models {
        write(model, &mut json);
    }
    json.end_array();
    json.key("has_more");
    json.bool(false);
    for (name, model) in [("first_id", models.first()), ("last_id", models.last())] {
        json.key(name);
        match model {
            Some(model) => json.str(&model.id),
            None => json.null(),
        }
    }
    json.end_object();
}

/// Writes one model (`GET /v1/models/{id}`).
pub fn one(model: &ModelEntry, out: &mut OutBuf) {
    write(model, &mut Writer::new(out));
}

fn write(model: &ModelEntry, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("type");
    json.text("model");
    json.key("id");
    json.str(&model.id);
    json.key("display_name");
    json.str(&model.display_name);
    json.key("created_at");
    json.text(&rfc3339(model.created));
    json.end_object();
}

/// Seconds since 1970 as RFC 3339 has it (`2025-02-19T00:00:00Z`); the days are turned into a date
/// by Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    // The last second of the year 9999: the format has no more digits.
    let seconds = seconds.min(253_402_300_799);
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let second = second % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::JsonStr;

    #[test]
    fn dates_are_right() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_739_923_199), "2025-02-18T23:59:59Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_list_names_its_ends() {
        let entry = |id| ModelEntry {
            id: JsonStr::from_static(id),
            created: 0,
            display_name: JsonStr::from_static("A model"),
            owner: JsonStr::from_static("somebody"),
        };
        let mut out = OutBuf::new();
        list(&[entry("a"), entry("b")], &mut out);
        let text = String::from_utf8(out.take_all().to_vec()).unwrap();
        assert!(text.starts_with(
            r#"{"data":[{"type":"model","id":"a","display_name":"A model","created_at":"1970-"#
        ));
        assert!(text.ends_with(r#"],"has_more":false,"first_id":"a","last_id":"b"}"#));
        list(&[], &mut out);
        let text = out.take_all();
        assert_eq!(
            text.as_ref(),
            br#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#
        );
    }
}
