//! Computes a value that the cache lacks. The value expires after a minute, or leaves with its tag.

use std::time::Duration;

use dolium::{Cache, PutOptions, Value};

fn page(cache: &Cache, path: &str) -> dolium::Result<String> {
    if let Some(Value::Text(page)) = cache.get(path)? {
        return Ok(page);
    }
    cache.incr("rendered", 1, Some(0.into()), &PutOptions::new())?;
    let page = format!("<html>{path}</html>");
    cache.set_with(path, page.as_str(), &PutOptions::new().expire_in(Duration::from_mins(1)).tag("pages"))?;
    Ok(page)
}

fn main() -> dolium::Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = Cache::open(directory.path())?;
    for path in ["/", "/about", "/"] {
        println!("{}", page(&cache, path)?);
    }
    assert_eq!(cache.get("rendered")?, Some(Value::Int(2)), "the third page comes from the cache");
    assert_eq!(cache.evict(&"pages".into())?, 2);
    cache.close()
}
