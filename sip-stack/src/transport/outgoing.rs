//! Requests outside of a dialog, as their users ask for them: calls and OPTIONS.

use super::command::{Destination, NewCall, Whom};
use super::worker::{Core, LOCALS, add, local_of};
use crate::dialog::Flow;
use crate::endpoint::{Cause, Event, Outgoing};
use crate::message::compose::seal_call;
use crate::message::{TrunkId, dial};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::sync::oneshot;

impl Core {
    /// The flow of a request outside of a dialog.
    fn flow_to(&mut self, to: &Destination, trunk: TrunkId) -> Flow {
        let (protocol, remote) = to.to;
        if let Some(name) = to.name.clone().filter(|_| protocol.is_secure()) {
            if self.names.len() >= LOCALS {
                self.names.clear();
            }
            self.names.insert(remote, name);
        }
        let same_family = |a: &SocketAddr| a.is_ipv4() == remote.is_ipv4();
        let place = self.sockets.iter().position(|(a, _)| same_family(a)).unwrap_or(0);
        // Where we listen by the same protocol we can be called back.
        let listener = self.listening.iter().find(|(p, a)| *p == protocol && same_family(a)).map(|(_, a)| *a);
        let bound = listener.or_else(|| self.sockets.get(place).map(|(a, _)| *a)).unwrap_or(remote);
        let connection = if protocol.is_reliable() { Flow::ANY } else { place as u64 };
        let local = self.local_address(bound, remote.ip());
        Flow { remote, local, connection, protocol, trunk }
    }

    pub(super) fn invite(&mut self, now: Instant, call: NewCall) {
        let NewCall { id, to, whom, rtp, audio, privacy_id, trunk, credentials, redirects, silence, ring } =
            call;
        let flow = self.flow_to(&to, trunk);
        let (reader, subject) = (self.reader.clone(), self.reader.next_subject());
        let call_id = format!("{:032x}", rand::random::<u128>());
        let text = self.region.run(|i| match &whom {
            Whom::Address(target, from) => {
                Ok(seal_call(i.secrets, &reader, subject, target, from, &call_id, ""))
            }
            Whom::Number(callee) => {
                let by = (to.host.as_str(), local_of(&flow));
                dial::seal_dialled(i.secrets, &reader, subject, callee, by, &call_id)
            }
        });
        let Ok(Ok(text)) = text else {
            let (cause, reason) = (Cause::NotMade, Default::default());
            // Nobody listens while the house is being closed.
            let _ = self.events.send(Event::Ended { call: id, cause, reason, retry_after: None });
            return;
        };
        let id = Some(id);
        let outgoing = Outgoing {
            id,
            flow,
            subject,
            text,
            rtp,
            audio,
            privacy_id,
            credentials,
            redirects,
            silence,
            ring,
        };
        self.endpoint.invite(now, outgoing);
    }

    pub(super) fn ping(
        &mut self,
        now: Instant,
        to: Destination,
        trunk: TrunkId,
        told: oneshot::Sender<Option<u16>>,
    ) {
        let flow = self.flow_to(&to, trunk);
        let (reader, subject) = (self.reader.clone(), self.reader.next_subject());
        let call_id = format!("{:032x}", rand::random::<u128>());
        let target = format!("sip:{}", to.host);
        let text = self.region.run(|i| {
            let from = dial::own_address(&reader, local_of(&flow));
            seal_call(i.secrets, &reader, subject, &target, &from, &call_id, "")
        });
        match text {
            Ok(text) => drop(self.pings.insert(self.endpoint.ping(now, flow, subject, text), told)),
            Err(_) => add(&self.counters.region_faults),
        }
    }
}
