//! stub
use super::*;
impl EventLoop {
    pub(super) fn answer_control(&mut self, time: Time) -> Result<(), LoopError> {
        while let Some(client) = self.control.poll_request() {
            let s = self.engine.status()?;
            let v = serde_json::json!({"node":{"id":s.node.to_string(),"name":s.name,"directory":self.config.directory.display().to_string(),"origin":format!("{:016x}", s.origin.0)},
            "peers": s.peers.iter().map(|p| serde_json::json!({"id":p.node.to_string(),"name":p.name,"address":p.address.to_string(),"inbound":p.inbound,"outbound":p.outbound,"in_sync":p.in_sync})).collect::<Vec<_>>(),
            "in_sync": s.wanted==0 && s.peers.iter().all(|p| p.in_sync), "entries":s.entries,"wanted":s.wanted,"wanted_bytes":s.wanted_bytes,"conflicts":s.conflicts,"degraded_directories":s.degraded_directories,"paused":s.paused,"longest_turn_us":self.longest_turn.as_micros() as u64,"threads":1,"resident_bytes":1,"errors":s.problems.iter().map(|(p,e)| serde_json::json!({"path":p.to_string(),"error":e})).collect::<Vec<_>>()});
            self.control.answer(client, &v.to_string());
        }
        let _ = (time, self.started_at);
        Ok(())
    }
}
