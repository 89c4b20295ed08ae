//! Lines of metadata: recognised by their text like samples, and read only where a new series wants to
//! know what is said of it. Part of `pass`.

use crate::{
    scrape::{known::TextId, metadata::Telling, read::pass::Pass},
    wire::{Entry, MetricKind, Parser, Place},
};

impl Pass<'_> {
    pub(super) fn known_metadata(
        &mut self,
        at: u32,
        id: TextId,
        kind: Option<MetricKind>,
        parser: &mut Parser<'_>,
    ) -> bool {
        let is_known = self.skip_metadata(id, kind, parser);
        if is_known {
            self.reader.known.reach(at);
        }
        is_known
    }

    pub(super) fn skip_metadata(
        &mut self,
        id: TextId,
        kind: Option<MetricKind>,
        parser: &mut Parser<'_>,
    ) -> bool {
        let before = parser.place();
        let is_known =
            parser.skip_metadata(id.length(), kind, |line| TextId::of_metadata(line) == id);
        if is_known {
            self.counts.metadata.add_line(id.hash());
            self.skipped(before, parser.place());
        }
        is_known
    }

    /// Lines in a row are remembered together.
    pub(super) fn skipped(&mut self, before: Option<Place>, after: Option<Place>) {
        let Some((before, after)) = before.zip(after).filter(|_| self.wants_metadata) else {
            return;
        };
        let start = match self.unheard {
            Some((start, end)) if end.is_at(before) => start,
            Some(_) | None => before,
        };
        self.unheard = Some((start, after));
    }

    /// Only who meets a new series wants to know what is said of it.
    pub(super) fn hear_skipped<'b>(&mut self, parser: &Parser<'b>, telling: &mut Telling<'b>) {
        if let Some((start, end)) = self.unheard.take() {
            parser.again(start, end).map_while(Result::ok).for_each(|entry| telling.hear(entry));
        }
    }

    /// A line of metadata that was not expected.
    pub(super) fn metadata(&mut self, parser: &Parser<'_>, entry: &Entry<'_>) {
        self.count_metadata(parser, entry);
        let kind = match entry {
            Entry::Type { kind, .. } => Some(*kind),
            Entry::Help { .. } | Entry::Unit { .. } => None,
            Entry::Series(_) | Entry::Comment(_) => return,
        };
        if !parser.remembers_metadata() {
            return;
        }
        let id = TextId::of_metadata(parser.line());
        let known = &mut self.reader.known;
        if let Some(at) = known.find(id, self.reader.packer.shapings()) {
            known.reach(at);
        } else {
            known.add_metadata(id, kind);
        }
    }

    pub(super) fn count_metadata(&mut self, parser: &Parser<'_>, entry: &Entry<'_>) {
        match entry {
            Entry::Type { .. } | Entry::Help { .. } | Entry::Unit { .. } => {
                if parser.remembers_metadata() {
                    let hash = TextId::of_metadata(parser.line()).hash();
                    self.counts.metadata.add_line(hash);
                } else {
                    self.counts.metadata.add(entry);
                }
            }
            Entry::Series(_) | Entry::Comment(_) => {}
        }
    }
}
