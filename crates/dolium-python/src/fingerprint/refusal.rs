//! How a value that cannot be identified is refused: where it is, and what it is.

use std::collections::HashSet;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::walk::{Frame, Parts};
use crate::error;

/// Why a walk stopped.
pub(super) enum Stop {
    /// The part that it had come to is none that counts; what it is.
    Unknown(String),
    /// It came to this object again.
    Circle(Py<PyAny>),
    Raised(PyErr),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Stop {
    /// The part is of a type that is not known.
    pub fn unknown(class: &Bound<'_, PyType>) -> Self {
        let text = |name| class.getattr(name).map_or_else(|_| "?".to_owned(), |text| text.to_string());
        let (module, name) = (text("__module__"), text("__qualname__"));
        // Where a class lies within its package is no business of its users.
        let public = module.split('.').filter(|part| !part.starts_with('_')).collect::<Vec<_>>().join(".");
        let name = if public.is_empty() || public == "builtins" { name } else { format!("{public}.{name}") };
        Self::Unknown(format!("{} {name}", if is_vowel(&name) { "an" } else { "a" }))
    }
}

/// Whether a name begins with a vowel when it is spoken.
fn is_vowel(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut letters = name.chars();
    match (letters.next(), letters.next()) {
        (Some('h'), Some(second)) => !"aeiouy".contains(second),
        (Some('s'), Some(second)) => second == 's',
        (Some(first), _) => "aeio".contains(first),
        _ => false,
    }
}

/// A value without a fingerprint.
pub(super) enum Refusal {
    /// The way from the value to the part, and what it is.
    Unkeyable(String, String),
    Raised(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Refusal {
    pub fn new(stop: Stop, frames: &[Frame<'_>], values: &[Bound<'_, PyAny>]) -> Self {
        match stop {
            Stop::Raised(error) => Self::Raised(error),
            Stop::Unknown(what) => Self::Unkeyable(way(frames, values), format!("is {what}")),
            Stop::Circle(object) => {
                // The first of the circle: what is open twice.
                let mut below = HashSet::from([object.as_ptr()]);
                let again = |at: &usize| !below.insert(frames[*at].object.as_ptr());
                let first = (0..frames.len()).rev().filter(again).last().unwrap_or(frames.len());
                Self::Unkeyable(way(&frames[..first], values), "contains itself".to_owned())
            }
        }
    }

    /// The exception for a value of this label, of a function of this name.
    pub fn raise(self, py: Python<'_>, function: Option<&str>, label: &str) -> PyErr {
        let (way, what) = match self {
            Self::Raised(error) => return error,
            Self::Unkeyable(way, what) => (way, what),
        };
        let message = match function {
            None => format!(
                "{label}{way} {what}, which has no fingerprint. Register its type, or give it __fingerprint__."
            ),
            Some(function) => {
                let function = function.rsplit('.').next().unwrap_or(function);
                let name =
                    label.split('\'').nth(1).map_or_else(String::new, |name| format!("{{\"{name}\": ...}}"));
                let rule = if name.is_empty() { "a function".to_owned() } else { name };
                format!(
                    "{function} cannot tell calls apart: {label}{way} {what}. Leave it out with key={rule}, \
                     register its type, or give it __fingerprint__."
                )
            }
        };
        error::UNKEYABLE.error(py, (message,))
    }
}

/// The way through all frames to the part that the last one has come to, as Python writes it.
fn way(frames: &[Frame<'_>], values: &[Bound<'_, PyAny>]) -> String {
    let mut way = String::new();
    let mut described = false;
    for frame in frames {
        let at = frame.next.saturating_sub(1);
        match &frame.parts {
            // The parts of an object come one level below it.
            Parts::Object => {}
            Parts::Dict(_) if at % 2 == 1 => match values.get(frame.values + at - 1) {
                Some(key) if described && key.is_exact_instance_of::<PyString>() => {
                    way.extend([".", &key.to_string()]);
                }
                Some(key) => way.extend(["[", &error::shown(key), "]"]),
                None => {}
            },
            Parts::Dict(_) => way.push_str(".keys()"),
            Parts::Set(_) => way.push_str("{…}"),
            _ if described => {}
            _ => way.extend(["[", &at.to_string(), "]"]),
        }
        described = matches!(frame.parts, Parts::Object);
    }
    way
}
