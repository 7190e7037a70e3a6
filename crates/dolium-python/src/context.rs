//! Which greenlet or task calls: what the engine cannot know of a thread, and transactions belong to.
//!
//! A task is asyncio's or trio's. The main greenlet of a thread, outside of tasks, is the thread itself. Numbers go to those
//! only that begin transactions, and nothing of this runs while no transaction is open in the process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dolium::host::{Context, NO_CONTEXT};
use dolium::{Cache, Wait, host};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyWeakrefReference};

use crate::lazy::Lazy;

static GREENLET: Lazy = Lazy::new("greenlet", "getcurrent");
static GEVENT: Lazy = Lazy::new("gevent", "Greenlet");
static EVENTLET: Lazy = Lazy::new("eventlet.greenthread", "GreenThread");
static LOOP: Lazy = Lazy::new("asyncio", "_get_running_loop");
static TASK: Lazy = Lazy::new("asyncio", "current_task");
static IS_TRIO: Lazy = Lazy::new("trio.lowlevel", "in_trio_task");
static TRIO_TASK: Lazy = Lazy::new("trio.lowlevel", "current_task");
static PAUSE: Lazy = Lazy::new("dolium.greenlets", "let_greenlets_run");

/// The longest pause of a greenlet between two looks.
const LONGEST: Duration = Duration::from_millis(16);

/// What runs on the calling thread.
#[derive(Default)]
struct Runner<'py> {
    greenlet: Option<Bound<'py, PyAny>>,
    task: Option<Bound<'py, PyAny>>,
}

/// Where greenlet and task lie, 0 for none.
type Place = (usize, usize);

impl<'py> Runner<'py> {
    /// A module that is not imported, or not yet whole, runs nothing.
    fn current(py: Python<'py>) -> Self {
        let call = |function: &'static Lazy| function.get_if_imported(py)?.call0().ok();
        let is_in_trio = call(&IS_TRIO).is_some_and(|is| is.is_truthy().unwrap_or(false));
        let task = if is_in_trio {
            call(&TRIO_TASK)
        } else {
            call(&LOOP)
                .filter(|running| !running.is_none())
                .and_then(|running| TASK.get_if_imported(py)?.call1((running,)).ok())
        };
        let greenlet = call(&GREENLET).and_then(side_greenlet);
        Self { greenlet, task: task.filter(|task| !task.is_none()) }
    }

    fn is_thread(&self) -> bool {
        self.greenlet.is_none() && self.task.is_none()
    }

    fn place(&self) -> Place {
        (address(self.greenlet.as_ref()), address(self.task.as_ref()))
    }

    /// Where the task is that has made a greenlet to run a part of itself, as SQLAlchemy's do.
    fn outer_place(&self) -> Option<Place> {
        let task = self.task.as_ref()?;
        let parent = self.greenlet.as_ref()?.getattr("parent").ok()?;
        Some((address(side_greenlet(parent).as_ref()), address(Some(task))))
    }
}

fn address(object: Option<&Bound<'_, PyAny>>) -> usize {
    object.map_or(0, |object| object.as_ptr() as usize)
}

/// A greenlet, unless it is the main one of its thread.
fn side_greenlet(greenlet: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    greenlet.getattr("parent").is_ok_and(|parent| !parent.is_none()).then_some(greenlet)
}

/// A context that has begun a transaction. Its place is not given to another before the context was told of its end.
struct Known {
    context: Arc<Context>,
    /// They tell the context, for as long as they are there.
    _watches: Vec<Py<PyWeakrefReference>>,
}

/// Those of the thread, which end with it.
#[derive(Default)]
struct Contexts {
    known: HashMap<Place, Known>,
    /// Greenlets that tell nobody of their end before they are collected.
    silent: Vec<(Py<PyWeakrefReference>, Arc<Context>)>,
}

impl Contexts {
    fn find(&self, runner: &Runner<'_>) -> Option<Arc<Context>> {
        let at = |place: Place| self.known.get(&place).map(|known| &known.context);
        let found = at(runner.place()).or_else(|| at(runner.outer_place()?));
        found.filter(|context| !context.has_ended()).cloned()
    }

    fn add(&mut self, place: Place, known: Known) {
        if self.known.len() == self.known.capacity() {
            self.known.retain(|_, known| !known.context.has_ended());
        }
        self.known.insert(place, known);
    }

    fn end_dead(&mut self, py: Python<'_>) {
        self.silent.retain(|(greenlet, context)| {
            let greenlet = greenlet.bind(py).upgrade();
            let is_dead =
                |greenlet: Bound<'_, PyAny>| greenlet.getattr("dead").and_then(|dead| dead.is_truthy());
            if greenlet.is_none_or(|greenlet| is_dead(greenlet).unwrap_or(true)) {
                context.end();
            }
            !context.has_ended()
        });
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        self.known.values().for_each(|known| known.context.end());
    }
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::default();
}

/// The number of the context that calls, as the engine asks for it.
pub(crate) fn number(py: Python<'_>) -> u32 {
    let runner = Runner::current(py);
    let find = |contexts: &RefCell<Contexts>| {
        let mut contexts = contexts.borrow_mut();
        contexts.end_dead(py);
        if runner.is_thread() { Some(0) } else { Some(contexts.find(&runner)?.number()) }
    };
    CONTEXTS.try_with(find).ok().flatten().unwrap_or(NO_CONTEXT)
}

/// The context that calls, for a transaction of it; None for the thread itself.
pub(crate) fn register(py: Python<'_>) -> PyResult<Option<Arc<Context>>> {
    let runner = Runner::current(py);
    if runner.is_thread() {
        return Ok(None);
    }
    if let Some(context) = CONTEXTS.with_borrow(|contexts| contexts.find(&runner)) {
        return Ok(Some(context));
    }
    let context = Arc::new(Context::new());
    let ending = Arc::clone(&context);
    let end = PyCFunction::new_closure(py, None, None, move |_, _| ending.end())?;
    let watch = |object| PyWeakrefReference::new_with(object, &end).map(Bound::unbind);
    let objects = [runner.greenlet.as_ref(), runner.task.as_ref()];
    let watches = objects.into_iter().flatten().map(watch).collect::<PyResult<_>>()?;
    let is_told = tell(&runner, &end)?;
    let silent = match &runner.greenlet {
        Some(greenlet) if !is_told => {
            Some((PyWeakrefReference::new(greenlet)?.unbind(), Arc::clone(&context)))
        }
        _ => None,
    };
    CONTEXTS.with_borrow_mut(|contexts| {
        contexts.silent.extend(silent);
        contexts.add(runner.place(), Known { context: Arc::clone(&context), _watches: watches });
    });
    Ok(Some(context))
}

/// Has `end` called when the task or greenlet is done, which may be long before it is collected. False where it cannot.
fn tell(runner: &Runner<'_>, end: &Bound<'_, PyCFunction>) -> PyResult<bool> {
    let py = end.py();
    if let Some(task) = &runner.task {
        // Not trio's.
        return match task.getattr_opt("add_done_callback")? {
            Some(add) => add.call1((end,)).map(|_| true),
            None => Ok(false),
        };
    }
    for (class, method) in [(&GEVENT, "rawlink"), (&EVENTLET, "link")] {
        if let (Some(greenlet), Some(class)) = (&runner.greenlet, class.get_if_imported(py))
            && greenlet.is_instance(class)?
        {
            greenlet.call_method1(method, (end,))?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lets other greenlets of the thread run until none of them holds the cache, or as long as `cache` may wait.
/// Returns at once where they cannot be let run, as tasks cannot.
pub(crate) fn give_way(py: Python<'_>, cache: &Cache) -> PyResult<()> {
    let start = Instant::now();
    let mut pause = Duration::ZERO;
    while host::is_held_by_neighbor(cache) {
        let pauses = Runner::current(py).task.is_none()
            && PAUSE.get(py)?.call1((pause.as_secs_f64(),))?.is_truthy()?;
        let is_over = matches!(cache.wait(), Wait::AtMost(timeout) if start.elapsed() >= timeout);
        if !pauses || is_over {
            break;
        }
        pause = (pause * 2).clamp(Duration::from_millis(1), LONGEST);
    }
    Ok(())
}
