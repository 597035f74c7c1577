//! `GET /healthz` and `GET /readyz`: whether the process is to be kept, and whether it is to be sent
//! work. Each says why not, on one line.

use http::StatusCode;

use super::problem::{Answer, with_type};
use super::service::Call;
use crate::lifecycle::Phase;

/// `GET /healthz`: the process answers, and every worker makes turns. A gateway of which one does not
/// serves some of its clients no more and should be started again.
pub(super) fn health(call: &Call) -> Answer {
    let shared = &call.connection.worker.shared;
    let hanging = shared.pulse.hanging(shared.clock.now_ms());
    let why: Vec<String> = hanging
        .iter()
        .map(|(worker, silent_ms)| format!("worker {worker} hangs for {} s", silent_ms / 1000))
        .collect();
    answer(if why.is_empty() {
        Ok("ok")
    } else {
        Err(why.join(", "))
    })
}

/// `GET /readyz`: whether new work should be sent here.
pub(super) fn ready(call: &Call) -> Answer {
    let shared = &call.connection.worker.shared;
    let phase = shared.phase();
    answer(match phase {
        Phase::Ready if shared.pulse.is_exhausted(shared.clock.now_ms()) => {
            Err("out of descriptors: raise the limit on open files".to_owned())
        }
        Phase::Ready => Ok(phase.as_str()),
        Phase::Starting | Phase::Draining | Phase::Closing | Phase::Stopped => {
            Err(phase.as_str().to_owned())
        }
    })
}

fn answer(state: Result<&str, String>) -> Answer {
    let (status, text) = match state {
        Ok(text) => (StatusCode::OK, text.to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    };
    with_type(status, "text/plain; charset=utf-8", text + "\n")
}
