//! What a scheduler runs: an emit with a payload of its own, or a call.

use std::sync::Arc;

use crate::emitter::{Emitter, Payload};

pub(in crate::emitter) enum Task {
    Emit(DeferredEmit),
    Call(Box<dyn FnOnce() + Send>),
}

/// An emit that owns all it needs. It keeps its emitter alive until it has run.
#[derive(Clone)]
pub(in crate::emitter) struct DeferredEmit {
    pub(in crate::emitter) emitter: Emitter,
    pub(in crate::emitter) event: Arc<str>,
    pub(in crate::emitter) payload: Arc<Payload>,
}

impl Task {
    pub(super) fn run(self) {
        match self {
            Self::Emit(emit) => {
                emit.emitter.emit_any(&emit.event, &*emit.payload);
            }
            Self::Call(call) => call(),
        }
    }
}
