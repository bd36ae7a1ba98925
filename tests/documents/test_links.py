"""Links of the documents lead to files and headings that exist."""

from pathlib import Path

import pytest

from support.documents import DOCUMENTS, anchors_of, name_of, read_links


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for target, anchor in read_links(document):
        file = document.parent / target if target else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(file), (target, anchor)
