//! Long text, which the other threads need not wait for. The only `unsafe` of this crate.
//!
//! Python has no function that makes text of UTF-8 without its lock. So the object is made empty, in the form that Python
//! would choose, and is filled without the lock before anything else knows of it.

use std::mem::MaybeUninit;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::enter;
use crate::memory::MANY;

/// Text as an object. The other threads run meanwhile, if it is long.
pub(crate) fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    if text.len() < MANY {
        return Ok(PyString::new(py, text));
    }
    let (count, widest) = enter::leave(py, || (text.chars().count(), widest(text)));
    // SAFETY: the function takes any length and any letter, and returns a new object or raises.
    let object =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(count.try_into()?, widest.into()))? };
    // SAFETY: `object` is text, as long as it lives.
    let place = unsafe { ffi::PyUnicode_DATA(object.as_ptr()) };
    // SAFETY: the object has room for `count` letters of the width that Python gives the widest, at a place that is aligned
    // for them. No other reference to the object exists before all are written.
    unsafe {
        match widest {
            ..='\x7f' => fill(py, slice::from_raw_parts_mut(place.cast(), count), text.bytes()),
            ..='\u{ff}' => fill(py, slice::from_raw_parts_mut(place.cast(), count), letters::<u8>(text)),
            ..='\u{ffff}' => fill(py, slice::from_raw_parts_mut(place.cast(), count), letters::<u16>(text)),
            _ => fill(py, slice::from_raw_parts_mut(place.cast(), count), letters::<u32>(text)),
        }
    }
    Ok(object.cast_into()?)
}

/// The letter with the highest number. It decides how Python keeps a text.
fn widest(text: &str) -> char {
    if text.is_ascii() { '\x7f' } else { text.chars().max().unwrap_or_default() }
}

/// The numbers of letters, all of which fit.
fn letters<T: TryFrom<u32> + Default>(text: &str) -> impl Iterator<Item = T> + Send {
    text.chars().map(|letter| T::try_from(letter.into()).unwrap_or_default())
}

/// Writes all of a place without the interpreter.
fn fill<T: Send>(py: Python<'_>, place: &mut [MaybeUninit<T>], letters: impl Iterator<Item = T> + Send) {
    enter::leave(py, || {
        for (place, letter) in place.iter_mut().zip(letters) {
            place.write(letter);
        }
    });
}
