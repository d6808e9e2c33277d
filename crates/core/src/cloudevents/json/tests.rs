use super::*;
use crate::Payload;
use proptest::prelude::*;

fn read(json: &str) -> Result<Event> {
    decode(&Bytes::copy_from_slice(json.as_bytes()))
}

fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"a.b"{}{members}}}"#, if members.is_empty() { "" } else { "," })
}

fn refusal(json: &str) -> String {
    let error = read(json).expect_err(json);
    assert_eq!(error.kind(), ErrorKind::Decode, "{json}");
    error.to_string()
}

#[test]
fn the_minimal_event_is_read_and_written() {
    let event = read(&with("")).unwrap();
    assert_eq!((event.id(), event.source(), event.event_type().as_str()), ("1", "/s", "a.b"));
    assert!(event.data().is_empty() && event.time().is_none() && event.subject().is_none());
    assert_eq!(encode(&event).unwrap(), with(""));
}

#[test]
fn every_field_has_its_attribute() {
    let event = Event::builder("order.placed")
        .id("e-1")
        .source("/shop")
        .subject("o-1")
        .time(crate::Timestamp::parse("2026-01-31T12:00:00.50+02:00").unwrap())
        .json_text(r#"{"price":1.10}"#)
        .schema_version(3)
        .data_schema("https://example.com/s")
        .correlation("c")
        .causation("d")
        .partition_key("k")
        .trace_context("00-a-b-01", Some("v=1".into()))
        .user("u")
        .tenant("t")
        .request("r")
        .trace("x")
        .metadata("region", "eu")
        .extension("flag", true)
        .extension("count", -5)
        .extension("text", "é")
        .build()
        .unwrap();
    let json = encode(&event).unwrap();
    let expected = concat!(
        r#"{"specversion":"1.0","id":"e-1","source":"/shop","type":"order.placed","subject":"o-1","time":"2026-01-31T12:00:00.50+02:00","#,
        r#""datacontenttype":"application/json","schemaversion":3,"correlationid":"c","causationid":"d","partitionkey":"k","#,
        r#""dataschema":"https://example.com/s","traceparent":"00-a-b-01","tracestate":"v=1","userid":"u","tenantid":"t","requestid":"r","#,
        r#""traceid":"x","metadata":"{\"region\":\"eu\"}","count":-5,"flag":true,"text":"é","data":{"price":1.10}}"#
    );
    assert_eq!(json, expected);
    assert_eq!(decode(&json).unwrap(), event);
}

#[test]
fn required_attributes_must_be_there_and_not_empty() {
    for name in ["specversion", "id", "source", "type"] {
        let full = with("");
        let value = if name == "specversion" {
            "1.0"
        } else {
            ["1", "/s", "a.b"][["id", "source", "type"].iter().position(|n| *n == name).unwrap()]
        };
        let member = format!(r#""{name}":"{value}""#);
        assert!(full.contains(&member));
        for (replaced, rule) in [
            (String::new(), "required"),
            (format!(r#""{name}":null"#), "required"),
            (format!(r#""{name}":"""#), "must"),
            (format!(r#""{name}":5"#), "string"),
        ] {
            let json = full.replace(&member, &replaced).replace(",,", ",").replace("{,", "{").replace(",}", "}");
            let text = refusal(&json);
            assert!(text.contains(&format!("'{name}'")) || text.contains("event type"), "{json}: {text}");
            assert!(text.contains(rule) || text.contains("1.0"), "{json}: {text}");
        }
    }
}

#[test]
fn a_rejection_names_the_attribute_and_the_rule() {
    for (members, name, rule) in [
        (r#""specversion":"0.3""#, "specversion", "1.0"),
        (r#""subject":"""#, "subject", "empty"),
        (r#""subject":"a\u0007b""#, "subject", "U+0007"),
        (r#""subject":7"#, "subject", "not a number"),
        (r#""time":"yesterday""#, "time", "RFC 3339"),
        (r#""time":12"#, "time", "not a number"),
        (r#""datacontenttype":"xyz""#, "datacontenttype", "media type"),
        (r#""datacontenttype":"""#, "datacontenttype", "empty"),
        (r#""dataschema":"/relative""#, "dataschema", "absolute"),
        (r#""MyExtension":"x""#, "MyExtension", "a-z"),
        (r#""my.extension":"x""#, "my.extension", "a-z"),
        (r#""":"x""#, "", "empty"),
        (r#""n":2147483648"#, "n", "32-bit"),
        (r#""n":-2147483649"#, "n", "32-bit"),
        (r#""n":1.5"#, "n", "fractional"),
        (r#""n":18446744073709551615"#, "n", "number beyond"),
        (r#""n":{}"#, "n", "an object"),
        (r#""n":[1]"#, "n", "an array"),
        (r#""schemaversion":"two""#, "schemaversion", "integer"),
        (r#""schemaversion":0"#, "schemaversion", "from 1"),
        (r#""userid":5"#, "userid", "string"),
        (r#""partitionkey":"""#, "partitionkey", "empty"),
        (r#""data":1,"data_base64":"AA==""#, "data_base64", "beside"),
        (r#""data_base64":"!!""#, "data_base64", "base64"),
        (r#""data_base64":7"#, "data_base64", "string"),
        (r#""datacontenttype":"application/xml","data":{}"#, "data", "must be a string"),
        (r#""n":1,"n":1"#, "n", "twice"),
        (r#""id":"2""#, "id", "twice"),
        (r#""data":1,"data":2"#, "data", "twice"),
        (r#""data_base64":"AA==","data_base64":"AA==""#, "data_base64", "twice"),
        (r#""userid":"a","userid":"a""#, "userid", "twice"),
        (r#""metadata":"{\"a\":1}","metadata":"{\"a\":1}""#, "metadata", "twice"),
    ] {
        let json = if members.starts_with("\"specversion\"") { with("").replace(r#""specversion":"1.0""#, members) } else { with(members) };
        let text = refusal(&json);
        assert!(text.contains(name) && text.contains(rule), "{json}: {text}");
    }
    assert!(refusal(&with("").replace("\"a.b\"", "\"a b\"")).contains("'type'"));
    assert!(refusal(&with("").replace("\"/s\"", "\"a b\"")).contains("'source'"));
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for json in ["", "null", "1", "[]", "{", r#"{"id":"#, "{}x", r#"{"id":"\ud800"}"#, "\u{feff}{}"] {
        refusal(json);
    }
    refusal(&format!("{}{}", with(""), with("")));
    assert_eq!(decode(&Bytes::from_static(b"{\"id\":\"\xff\"}")).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn null_attributes_are_unset_and_null_data_is_data() {
    let event = read(&with(r#""subject":null,"time":null,"data_base64":null,"data":null,"ext":null"#)).unwrap();
    assert!(event.subject().is_none() && event.time().is_none() && event.extensions().count() == 0);
    assert_eq!(event.data().to_bytes().unwrap(), "null");
    assert_eq!(encode(&event).unwrap(), with(r#""datacontenttype":"application/json","data":null"#));
}

#[test]
fn a_long_extension_name_is_read() {
    let name = "a".repeat(60);
    assert!(read(&with(&format!(r#""{name}":1"#))).unwrap().extension(&name).is_some());
}

#[test]
fn tracing_attributes_never_cost_an_event() {
    let long = "x".repeat(10_000);
    for value in [r#""\u0000\r\n""#, "5", "true", "{}", "[1]", "null", r#""""#, &format!("\"{long}\"")] {
        for name in ["traceparent", "tracestate", "correlationid", "causationid"] {
            let event = read(&with(&format!(r#""{name}":{value}"#))).unwrap();
            let copy = decode(&encode(&event).unwrap()).unwrap();
            assert_eq!(copy, event);
        }
    }
    assert_eq!(read(&with(r#""correlationid":5"#)).unwrap().correlation_id(), Some("5"));
}

#[test]
fn foreign_metadata_that_is_no_object_is_kept() {
    let event = read(&with(r#""metadata":"plain""#)).unwrap();
    assert!(event.metadata().is_empty());
    assert!(encode(&event).unwrap().ends_with(br#""metadata":"plain"}"#));
    let own = event.with_metadata("a", 1);
    assert!(encode(&own).unwrap().ends_with(br#""metadata":"{\"a\":1}"}"#));
}

#[test]
fn json_data_keeps_its_text() {
    for data in [
        "1.10",
        "1152921504606846976",
        "12345678901234567890123",
        r#"{"a" : [ 1.0, 1e5 ] }"#,
        r#""I'm just a string""#,
        "{\n}",
        r#""\u00e9""#,
    ] {
        let event = read(&with(&format!(r#""data": {data} "#))).unwrap();
        assert_eq!(event.data().to_bytes().unwrap(), data);
        assert_eq!(decode(&encode(&event).unwrap()).unwrap().data().to_bytes().unwrap(), data);
    }
}

#[test]
fn data_is_written_by_its_media_type() {
    let member = |payload: Payload| {
        let json = encode(&Event::builder("a").id("1").source("/s").payload(payload).build().unwrap()).unwrap();
        let event = decode(&json).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        (value.get("data").cloned(), value.get("data_base64").cloned(), event.data().to_bytes().unwrap())
    };
    let json = |media| member(Payload::bytes(media, "[1]").unwrap());
    assert_eq!(json("application/vnd.x+json; charset=utf-8").0, Some(serde_json::json!([1])));
    assert_eq!(json("APPLICATION/JSON").0, Some(serde_json::json!([1])));
    assert_eq!(json("text/plain").0, Some("[1]".into()));
    assert_eq!(json("application/xml").1, Some("WzFd".into()));
    assert_eq!(member(Payload::opaque(vec![0xff])).1, Some("/w==".into()));
    assert_eq!(member(Payload::bytes("text/plain", vec![0xff]).unwrap()).1, Some("/w==".into()));
    // Truncated JSON cannot stand in the envelope as JSON; its bytes survive all the same.
    let truncated = member(Payload::bytes("application/json", "{\"a\":").unwrap());
    assert_eq!((truncated.0, truncated.2), (None, Bytes::from("{\"a\":")));
}

#[test]
fn bytes_without_a_media_type_stay_without_one() {
    let event = read(&with(r#""data_base64":"e30=""#)).unwrap();
    assert_eq!(event.data().content_type(), None);
    assert_eq!(encode(&event).unwrap(), with(r#""data_base64":"e30=""#));
}

#[test]
fn a_media_type_without_data_survives() {
    let event = read(&with(r#""datacontenttype":"text/plain""#)).unwrap();
    assert_eq!(encode(&event).unwrap(), with(r#""datacontenttype":"text/plain""#));
}

#[test]
fn text_that_others_write_as_a_string_is_read() {
    let event = read(&with(r#""datacontenttype":"application/xml","data":"<a b=\"c\"/>""#)).unwrap();
    assert_eq!(event.data().to_bytes().unwrap(), "<a b=\"c\"/>");
}

#[test]
fn json_data_is_not_copied() {
    let json = Bytes::from(with(r#""data":{"a":1}"#));
    let data = decode(&json).unwrap().data().to_bytes().unwrap();
    assert!(json.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn batches() {
    assert!(decode_batch(&Bytes::from_static(b"[]")).unwrap().is_empty());
    assert_eq!(encode_batch([]).unwrap(), "[]");
    let events = vec![read(&with("")).unwrap(), read(&with(r#""data":1.10"#)).unwrap()];
    let batch = encode_batch(&events).unwrap();
    assert_eq!(decode_batch(&batch).unwrap(), events);
    for (json, position) in [("[1]", "position=0"), (&format!("[{},{{}}]", with("")), "position=1")] {
        let error = decode_batch(&Bytes::copy_from_slice(json.as_bytes())).unwrap_err().to_string();
        assert!(error.contains(position), "{error}");
    }
    assert!(decode_batch(&Bytes::from_static(b"{}")).is_err());
}

#[test]
fn a_faulty_event_is_not_written() {
    assert_eq!(encode(&Event::json("a", 1).unwrap().with_source("")).unwrap_err().kind(), ErrorKind::Invalid);
}

pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    let text = || "[ -~äöü€😀]{1,20}";
    let payload = prop_oneof![
        Just(Payload::empty()),
        any::<i64>().prop_map(|n| Payload::json(&n).unwrap()),
        any::<String>().prop_map(|s| Payload::json(&s).unwrap()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Payload::opaque),
        any::<String>().prop_map(|s| Payload::bytes("text/plain; charset=utf-8", s).unwrap()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|b| Payload::bytes("application/json", b).unwrap()),
    ];
    let extension = prop_oneof![
        any::<i32>().prop_map(crate::ExtensionValue::from),
        any::<bool>().prop_map(Into::into),
        "[ -~é]{0,12}".prop_map(Into::into)
    ];
    (
        text(),
        payload,
        prop::option::of(text()),
        prop::option::of(any::<String>()),
        prop::option::of(text()),
        prop::collection::btree_map(any::<String>(), any::<i64>(), 0..3),
        prop::collection::btree_map("x[a-z0-9]{0,19}", extension, 0..3),
        1..5u32,
    )
        .prop_map(|(id, payload, subject, correlation, user, custom, extensions, version)| {
            let mut builder =
                Event::builder("a.b").id(id).source("/s").payload(payload).schema_version(version).time(std::time::SystemTime::now());
            if let Some(subject) = subject {
                builder = builder.subject(subject);
            }
            if let Some(correlation) = correlation.filter(|correlation| !correlation.is_empty()) {
                builder = builder.correlation(correlation);
            }
            if let Some(user) = user {
                builder = builder.user(user);
            }
            for (key, value) in custom {
                builder = builder.metadata(key, value);
            }
            for (name, value) in extensions {
                builder = builder.extension(name, value);
            }
            builder.build().unwrap()
        })
}

proptest! {
    #[test]
    fn every_event_survives_every_encoding(event in any_event()) {
        prop_assert_eq!(&decode(&encode(&event).unwrap()).unwrap(), &event);

        let mut headers = Vec::new();
        let payload = crate::cloudevents::nats::encode(&event, |name, value| headers.push((name.to_owned(), value.to_owned()))).unwrap();
        prop_assert!(headers.iter().all(|(_, value)| value.bytes().all(|byte| (0x21..=0x7e).contains(&byte))));
        let from_headers = crate::cloudevents::nats::decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), &payload).unwrap();
        prop_assert_eq!(&from_headers, &event);

        let mut fields = Vec::new();
        crate::cloudevents::redis::encode(&event, |name, value| fields.push((name.to_owned(), Bytes::copy_from_slice(value)))).unwrap();
        let from_fields = crate::cloudevents::redis::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value))).unwrap();
        prop_assert_eq!(&from_fields, &event);
    }

    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\":,a-z0-9\\\\u ]{0,60}") {
        let _ = decode(&Bytes::from(bytes.clone()));
        let _ = decode_batch(&Bytes::from(bytes));
        let _ = decode(&Bytes::from(text.clone()));
        let _ = decode_batch(&Bytes::from(text));
    }
}
