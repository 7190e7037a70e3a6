//! The search of the models: every state that can be reached, in breadth, and how a state is reached that must not be.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// States that come next, each with the name of the step that leads there.
pub type Steps<S> = Vec<(S, String)>;

/// How many states there are. `next` returns those that follow one state, or what is wrong with it.
pub fn search<S: Clone + Eq + Hash>(
    start: S,
    next: impl Fn(&S) -> Result<Steps<S>, String>,
) -> Result<usize, String> {
    let mut from: HashMap<S, Option<(S, String)>> = HashMap::from([(start.clone(), None)]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        let all = next(&state).map_err(|what| {
            let steps = std::iter::successors(from[&state].as_ref(), |(before, _)| from[before].as_ref());
            let mut steps: Vec<_> = steps.map(|(_, step)| step.as_str()).collect();
            steps.reverse();
            format!("{what} after {}", steps.join(", "))
        })?;
        for (next, name) in all {
            if !from.contains_key(&next) {
                from.insert(next.clone(), Some((state.clone(), name)));
                queue.push_back(next);
            }
        }
    }
    Ok(from.len())
}
