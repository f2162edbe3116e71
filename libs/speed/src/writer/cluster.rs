//! A batch on its way to a cluster: a call for each symbol, then for each stream, then for each master's
//! mark, many at once.

use std::time::Instant;

use market::Place;
use redis::{Cmd, RedisResult};
use tracing::Instrument;

use super::Writer;
use super::envelope::{ARGS_A_SYMBOL, BYTES_A_SYMBOL};
use super::write::Written;
use crate::streams::Append;
use crate::symbol_text::{SymbolText, push_words};
use crate::{keys, log, span};

impl Writer {
    pub(super) async fn write_cluster(
        &mut self,
        texts: Vec<SymbolText>,
        mut appends: Vec<Append>,
        places: &[(i32, Place)],
    ) -> RedisResult<Written> {
        let mut written = Written::at(Instant::now(), places.to_vec());
        let calls = texts.iter().map(|text| {
            let mut call = Cmd::with_capacity(ARGS_A_SYMBOL, BYTES_A_SYMBOL);
            call.arg("FCALL").arg("gostocks_symbol_7").arg(text.keys().count());
            push_words(text.keys(), &mut call);
            text.arguments(&mut call);
            call
        });
        let accepted = self.link.all::<bool>(calls.collect()).instrument(span::of("FCALL")).await?;
        let refused = accepted.iter().enumerate().filter(|(_, accepted)| !**accepted);
        written.refused.extend(refused.map(|(index, _)| index));
        while !appends.is_empty() {
            let calls = appends.iter().map(|append| {
                let stream = self.streams.text(append);
                let mut call = Cmd::with_capacity(16, stream.bytes());
                call.arg("FCALL").arg("gostocks_stream_7").arg(2);
                call.arg(&stream.keys).arg(self.log.id.as_str());
                stream.arguments(&mut call);
                call
            });
            let calls = self.link.all(calls.collect());
            let ends: Vec<String> = calls.instrument(span::of("FCALL")).await?;
            let mut again = Vec::new();
            for (append, end) in appends.into_iter().zip(ends) {
                if end.is_empty() {
                    self.streams.appended(&append);
                    written.count(&append);
                } else {
                    again.push(self.overtaken(append, &end)?);
                }
            }
            again.retain(|append| !append.is_empty());
            appends = again;
        }
        let log = keys::log(&self.log.topic);
        let log = ("gostocks_places_7", log.as_str());
        let marks = self.marks.iter().map(|mark| ("gostocks_mark_7", mark.as_str()));
        let calls = [log].into_iter().chain(marks).map(|(function, key)| {
            let mut call = Cmd::new();
            call.arg("FCALL").arg(function).arg(1).arg(key);
            call.arg(self.log.id.as_str()).arg(places.len());
            self.place_arguments(places, &mut call);
            call
        });
        self.link.all::<()>(calls.collect()).instrument(span::of("FCALL")).await?;
        Ok(Written { at: Instant::now(), ..written })
    }

    fn place_arguments(&self, places: &[(i32, Place)], call: &mut Cmd) {
        for (partition, place) in places {
            let told = self.places.get(partition).copied().map(log::encode_place);
            call.arg(log::place_field(*partition)).arg(log::encode_place(*place));
            call.arg(told.unwrap_or_default());
        }
    }
}
