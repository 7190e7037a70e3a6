//! A second process fills a queue, and this process empties it.

use std::env;
use std::process::Command;

use dolium::{Cache, PutOptions, Side, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(directory) = env::args().nth(1) {
        return fill(&Cache::open(directory)?);
    }
    let directory = tempfile::tempdir()?;
    let status = Command::new(env::current_exe()?).arg(directory.path()).status()?;
    assert!(status.success());

    let cache = Cache::open(directory.path())?;
    let mut sum = 0;
    while let Some((_, entry)) = cache.pull(Some("jobs"), Side::Front)? {
        let Value::Int(job) = entry.value else { return Err("a job is a number".into()) };
        sum += job;
    }
    println!("the jobs add up to {sum}");
    assert_eq!(sum, (0..100).sum::<i64>());
    cache.close()?;
    Ok(())
}

fn fill(cache: &Cache) -> Result<(), Box<dyn std::error::Error>> {
    for job in 0..100 {
        cache.push(job, Some("jobs"), Side::Back, &PutOptions::new())?;
    }
    cache.close()?;
    Ok(())
}
