//! Reads as the types of a program: what converts, and what refuses to.

use std::collections::BTreeMap;

use dolium::{Cache, Error, Payload, PutOptions, Side, Value};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Meters(f64);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Shape {
    Point,
    Circle { radius: Meters },
}

fn open() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = Cache::open(directory.path()).expect("a cache");
    (directory, cache)
}

#[test]
fn plain_values_convert_to_each_type_that_fits() {
    let (_directory, cache) = open();
    cache.set("int", 42).unwrap();
    assert_eq!(cache.get_as::<i64>("int").unwrap(), Some(42));
    assert_eq!(cache.get_as::<u8>("int").unwrap(), Some(42));
    assert_eq!(cache.get_as::<f64>("int").unwrap(), Some(42.0));
    assert_eq!(cache.get_as::<Option<i64>>("int").unwrap(), Some(Some(42)));
    cache.set("float", 1.5).unwrap();
    assert_eq!(cache.get_as::<Meters>("float").unwrap(), Some(Meters(1.5)));
    cache.set("text", "Point").unwrap();
    assert_eq!(cache.get_as::<String>("text").unwrap().as_deref(), Some("Point"));
    assert_eq!(cache.get_as::<Shape>("text").unwrap(), Some(Shape::Point));
    cache.set("bytes", b"\x00\xff").unwrap();
    assert_eq!(cache.get_as::<Vec<u8>>("bytes").unwrap(), Some(vec![0, 255]));
}

#[test]
fn set_as_and_get_as_agree() {
    let (_directory, cache) = open();
    let value = BTreeMap::from([("a".to_owned(), vec![Shape::Circle { radius: Meters(2.0) }, Shape::Point])]);
    cache.set_as("key", &value, &PutOptions::new()).unwrap();
    assert_eq!(cache.get_as("key").unwrap(), Some(value));
}

#[test]
fn each_read_that_returns_a_value_can_be_typed() {
    let (_directory, cache) = open();
    cache.set_as("key", &Meters(2.0), &PutOptions::new()).unwrap();
    let popped = cache.pop("key").unwrap().unwrap();
    assert_eq!(popped.value.decode::<Meters>().unwrap(), Meters(2.0));
    cache.push("job", None, Side::Back, &PutOptions::new()).unwrap();
    let (_, entry) = cache.pull(None, Side::Front).unwrap().unwrap();
    assert_eq!(entry.value.decode::<String>().unwrap(), "job");
}

#[test]
fn a_value_of_another_type_is_an_error_and_stays() {
    let (_directory, cache) = open();
    cache.set("key", "text").unwrap();
    assert!(matches!(cache.get_as::<u32>("key"), Err(Error::Type(_))));
    cache.set("large", 256).unwrap();
    assert!(matches!(cache.get_as::<u8>("large"), Err(Error::Type(_))));
    assert_eq!(cache.get("key").unwrap(), Some(Value::from("text")));
    assert_eq!(cache.get_as::<u32>("absent").unwrap(), None);
}

#[test]
fn a_pickle_is_left_to_python() {
    let (_directory, cache) = open();
    cache.set("key", Payload::Pickle(b"\x80\x05K\x01.")).unwrap();
    let error = cache.get_as::<u32>("key").unwrap_err();
    assert!(matches!(&error, Error::Type(why) if why.contains("Python pickle")), "{error}");
}
