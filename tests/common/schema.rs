//! Holds JSON documents against `docs/json.schema.json`: the part of JSON Schema that it uses, and stricter than that in one
//! thing: a field that the schema does not describe is an error, because nobody could rely on it.

use std::sync::LazyLock;

use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../docs/json.schema.json")).expect("docs/json.schema.json is JSON")
});

/// Words of JSON Schema that this knows; the schema must not rely on others.
const KNOWN: [&str; 12] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "description",
    "enum",
    "items",
    "minimum",
    "properties",
    "required",
    "type",
];

/// Fails unless the document is what the schema says of its command.
#[track_caller]
pub fn check(document: &Value) {
    let command = document["command"].as_str().unwrap_or_else(|| panic!("no command: {document:#}"));
    let has_failed = document.get("error").is_some() && document.as_object().is_some_and(|fields| fields.len() == 3);
    let name = if has_failed { "failed" } else { command };
    let schema = &SCHEMA["$defs"][name];
    assert!(schema.is_object(), "docs/json.schema.json does not describe {command}");
    if let Err(wrong) = holds(document, schema, "") {
        panic!("{command}: {wrong}, by docs/json.schema.json: {document:#}");
    }
}

fn holds(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let rules = schema.as_object().ok_or_else(|| format!("the schema of {at} is no object"))?;
    if let Some(unknown) = rules.keys().find(|word| !KNOWN.contains(&word.as_str())) {
        return Err(format!("the schema of {at} uses {unknown}, which the tests do not check"));
    }
    if let Some(target) = schema["$ref"].as_str() {
        holds(value, resolve(target)?, at)?;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        // What each part describes is known to all of them.
        shape(value, through(part)?, at)?;
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let wrong: Vec<_> = choices.iter().filter_map(|choice| holds(value, choice, at).err()).collect();
        if wrong.len() == choices.len() {
            return Err(wrong.join("; or "));
        }
    }
    shape(value, schema, at)?;
    let Some(object) = value.as_object() else { return Ok(()) };
    let describes = schema.get("properties").is_some() || schema.get("additionalProperties").is_some();
    let mut known = Vec::new();
    names(schema, &mut known)?;
    match object.keys().find(|key| describes && schema.get("additionalProperties").is_none() && !known.contains(key)) {
        Some(key) => Err(format!("{at}.{key} is not described")),
        None => Ok(()),
    }
}

/// What a schema says itself, but for fields that it does not know.
fn shape(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        _ => false,
    };
    match &schema["type"] {
        Value::Null => {}
        Value::Array(kinds) if kinds.iter().any(is) => {}
        kind if is(kind) => {}
        kind => return Err(format!("{at} is {value}, and should be {kind}")),
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Err(format!("{at} is {value}"));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{at} is {value}"));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        return Err(format!("{at} is {value}"));
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            holds(item, items, &format!("{at}[{place}]"))?;
        }
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(required) {
            return Err(format!("{at}.{required} is missing"));
        }
    }
    for (key, field) in object {
        match (schema["properties"].get(key), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => holds(field, schema, &format!("{at}.{key}"))?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// The fields that a schema describes, with those of its parts.
fn names<'s>(schema: &'s Value, into: &mut Vec<&'s String>) -> Result<(), String> {
    into.extend(schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys()));
    schema["allOf"].as_array().into_iter().flatten().try_for_each(|part| names(through(part)?, into))
}

fn through(schema: &Value) -> Result<&Value, String> {
    schema["$ref"].as_str().map_or(Ok(schema), |target| through(resolve(target)?))
}

fn resolve(target: &str) -> Result<&'static Value, String> {
    let name = target.strip_prefix("#/$defs/").ok_or_else(|| format!("{target} is elsewhere"))?;
    SCHEMA["$defs"].get(name).ok_or_else(|| format!("{target} is nowhere"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_documents_are_noticed() {
        let good =
            json!({ "version": 1, "command": "tag", "snapshots": [{ "id": "00", "tags": ["a"], "changed": true }] });
        check(&good);
        let schema = &SCHEMA["$defs"]["tag"];
        for wrong in [
            json!({ "version": 2, "command": "tag", "snapshots": [] }),
            json!({ "version": 1, "command": "tag" }),
            json!({ "version": 1, "command": "tag", "snapshots": {} }),
            json!({ "version": 1, "command": "tag", "snapshots": [], "more": 1 }),
            json!({ "version": 1, "command": "tag", "snapshots": [{ "id": "00", "tags": [1], "changed": true }] }),
            json!({ "version": 1, "command": "tag", "snapshots": [{ "id": "00", "tags": [], "changed": "yes" }] }),
        ] {
            assert!(holds(&wrong, schema, "").is_err(), "{wrong}");
        }
        let record = |more: Value| {
            let mut object = json!({ "message": "m", "hint": null, "code": 1 });
            object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            holds(
                &object,
                &json!({ "allOf": [{ "$ref": "#/$defs/Error" }], "properties": { "own": { "type": "null" } } }),
                "",
            )
        };
        assert!(record(json!({})).is_ok() && record(json!({ "own": null })).is_ok());
        assert!(record(json!({ "other": null })).is_err() && record(json!({ "own": 1 })).is_err());
        assert!(record(json!({ "code": -1 })).is_err());
    }
}
