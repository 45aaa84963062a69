"""A DICOMweb server that answers rightly, wrongly, in part or not at all."""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrloc.datasets.dicom.web.answers import MissingError, ServerError
from cxrloc.datasets.dicom.web.credentials import (
    CredentialsError,
    basic_password,
    bearer_token,
)
from cxrloc.datasets.dicom.web.options import add_server_options, server_of
from cxrloc.datasets.dicom.web.server import (
    DicomWebServer,
    Instance,
    Series,
    checked_url,
    is_unencrypted,
)
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import (
    Answer,
    Told,
    dicom_json,
    free_port,
    multipart,
    stored_json,
    told_server,
)

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)
STUDY, SERIES, UID = "1.2.3", "1.2.3.4", "1.2.3.4.5"
INSTANCE = Instance(Series(STUDY, SERIES, "DX"), UID, "")
PAGE = b"<html><title>Canary^Secret</title>Log in</html>"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    uids = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": UID}
    path = write_dicom(tmp_path / "image.dcm", PIXELS, uids)
    made = pydicom.dcmread(path)
    made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(UID)
    made.save_as(path)
    return path


def test_an_object_arrives_as_the_server_holds_it(told: Told, image: Path) -> None:
    kind, body = multipart(image.read_bytes())
    told.always(Answer(kind=kind, body=body))

    data = DicomWebServer(told.url).retrieve(INSTANCE)

    assert data == image.read_bytes()
    assert told.asked == [("GET", f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{UID}")]
    assert "transfer-syntax=*" in told.headers[0]["Accept"]
    assert told.headers[0]["Host"] == told.url.split("/")[2]  # with its port


def test_a_search_takes_all_pages_and_ends_where_a_server_knows_none(told: Told) -> None:
    pages = {"0": ["1.1", "1.2"], "2": ["1.3"], "3": []}

    def paged(method: str, path: str) -> Answer:
        offset = path.partition("offset=")[2].partition("&")[0]
        entries = [{"0020000E": uid, "00080060": "DX"} for uid in pages[offset]]
        return Answer(body=dicom_json(*entries))

    told.answer = paged
    server = DicomWebServer(f"{told.url}/")
    assert [series.uid for series in server.series(STUDY)] == ["1.1", "1.2", "1.3"]
    told.always(Answer(body=dicom_json({"0020000E": "1.1"})))  # the same page each time
    assert server.series(STUDY) == [Series(STUDY, "1.1", "")]
    told.always(Answer(status=204))
    assert server.series(STUDY) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(401), r"asks who you are \(401\); give --dicomweb-token or --dicomweb-password"),
        (Answer(403, body=PAGE), r"does not allow it \(403\): study 1\.2\.3"),
        (Answer(404, "text/html", PAGE), r"it has no study 1\.2\.3 \(404\)"),
        (Answer(500, body=PAGE), "it answers 500 Internal Server Error for study"),
        (Answer(503), "it answers 503 Service Unavailable"),
        (Answer(200, "text/html; charset=utf-8", PAGE), "answers with text/html, not DICOM"),
        (Answer(body=PAGE), r"its answer for study 1\.2\.3 is damaged"),
        (Answer(body=b"[1]"), "its answer is no DICOM JSON"),
        (Answer(body=b'{"error": "Canary^Secret"}'), "is damaged"),
        (Answer(body=dicom_json({"0020000E": "../../etc"})), "is damaged"),
        (Answer(body=b"[", headers={"Content-Length": "100"}), "the transfer broke off"),
    ],
)
def test_a_search_that_fails_says_how_and_quotes_nothing(
    told: Told, answer: Answer, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    told.always(answer)
    with caplog.at_level(logging.INFO), pytest.raises(ServerError, match=said) as failed:
        DicomWebServer(told.url).series(STUDY)
    assert str(failed.value).startswith(f"{told.url}: ")
    assert "Canary" not in str(failed.value) + caplog.text
    assert len(told.asked) == (3 if answer.status in (200, 503) and len(told.asked) > 1 else 1)


def test_an_object_that_is_none_or_in_part_or_another_is_refused(told: Told, image: Path) -> None:
    server, whole = DicomWebServer(told.url), image.read_bytes()
    other = Instance(INSTANCE.series, "1.2.3.4.9", "")
    kind, body = multipart(whole)
    cut = multipart(whole[:-20], end=b"")[1]
    answers = {
        "answers with text/html": Answer(200, "text/html", PAGE),
        "answers with no content type": Answer(200, "", PAGE),
        "transfer broke off": Answer(200, kind, cut, states_length=False),
        "broke off, tried 3 times": Answer(200, kind, cut, {"Content-Length": str(len(body))}),
        "is no DICOM file": Answer(200, *multipart(PAGE)),
    }
    for said, answer in answers.items():
        told.always(answer)
        with pytest.raises(ServerError, match=said):
            server.retrieve(INSTANCE)
    told.always(Answer(200, kind, body))
    with pytest.raises(ServerError, match=r"sends another object than 1\.2\.3\.4\.9"):
        server.retrieve(other)
    told.always(Answer(404))
    with pytest.raises(MissingError, match=r"it has no object 1\.2\.3\.4\.5 \(404\)"):
        server.retrieve(INSTANCE)


def test_a_transfer_that_breaks_off_is_tried_again(told: Told, image: Path) -> None:
    kind, body = multipart(image.read_bytes())
    broken = Answer(200, kind, body[:100], {"Content-Length": str(len(body))})
    answers = [Answer(503), broken, Answer(200, kind, body)]
    told.answer = lambda method, path: answers.pop(0)
    assert DicomWebServer(told.url).retrieve(INSTANCE) == image.read_bytes()


def test_what_was_stored_is_what_the_server_names(told: Told, image: Path) -> None:
    server, made = DicomWebServer(told.url), pydicom.dcmread(image)
    outcomes = {
        "": Answer(body=stored_json([made], {})),
        "the server refuses it (reason C122)": Answer(409, body=stored_json([], {UID: 0xC122})),
        "the server does not say that it has stored it": Answer(202, body=stored_json([], {})),
    }
    for reason, answer in outcomes.items():
        told.always(answer)
        assert list(server.store([image])) == [(image, reason)]
    told.always(Answer(202, "application/json; charset=utf-8", stored_json([], {UID: 0x0111})))
    assert list(server.store([image])) == [(image, "")]  # it was there before
    for answer, said in (
        (Answer(200, "text/html", PAGE), "answers with text/html"),
        (Answer(400, body=PAGE), "it answers 400 Bad Request"),
        (Answer(413, "text/html", PAGE), "it answers 413"),
        (Answer(401), r"\(401\)"),
        (Answer(405), "it answers 405"),
    ):
        told.always(answer)
        with pytest.raises(ServerError, match=said):
            list(server.store([image]))
    assert {method for method, _ in told.asked} == {"POST"}


def test_a_result_that_was_redirected_to_a_page_is_not_stored(told: Told, image: Path) -> None:
    moved = Answer(302, headers={"Location": "/login"})
    page = Answer(200, "text/html", PAGE)
    told.answer = lambda method, path: moved if method == "POST" else page
    with pytest.raises(ServerError, match="answers with text/html, not DICOM"):
        list(DicomWebServer(told.url).store([image]))


def test_credentials_come_from_a_file_that_may_change(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    server = DicomWebServer(told.url, bearer_token(file))
    server.series(STUDY)
    file.write_text("second")
    server.series(STUDY)
    file.write_text("\ufeffname:pass:wörd\r\n")  # as Windows' editors write it
    DicomWebServer(told.url, basic_password(file)).series(STUDY)
    basic = "Basic bmFtZTpwYXNzOnfDtnJk"
    assert [h["Authorization"] for h in told.headers] == ["Bearer first", "Bearer second", basic]

    file.unlink()
    with pytest.raises(CredentialsError, match=r"secret: No such file or directory; expected"):
        server.series(STUDY)
    for text in ("", "a b", "one\ntwo"):
        file.write_text(text)
        with pytest.raises(CredentialsError, match="expected one"):
            bearer_token(file)
    file.write_text("only a name")
    with pytest.raises(CredentialsError, match="expected one line NAME:PASSWORD"):
        basic_password(file)


def test_credentials_that_others_can_read_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    file.write_text("token")
    parser = argparse.ArgumentParser()
    parser.add_argument("--trusted", type=Path)
    add_server_options(parser, "")
    words = ["--dicomweb", "https://pacs/dicom-web", "--dicomweb-token", str(file)]
    for mode, said in ((0o600, ""), (0o640, f"{file}: other users of this machine can read it")):
        file.chmod(mode)
        server_of(parser.parse_args(words))
        assert capsys.readouterr().err.partition(";")[0].strip() == said


def test_credentials_are_not_shown_to_another_server(told: Told, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    with told_server() as other:
        target = other.url.replace("127.0.0.1", "localhost")
        told.always(Answer(302, headers={"Location": target}))
        other.always(Answer(status=204))
        DicomWebServer(told.url, bearer_token(tmp_path / "secret")).series(STUDY)
    assert "Authorization" in told.headers[0]
    assert "Authorization" not in other.headers[0]


def test_a_certificate_is_trusted_only_when_it_is_given(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing, which makes the certificates")
    for name, subject in (("own", "IP:127.0.0.1"), ("other", "DNS:elsewhere")):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", f"subjectAltName={subject}", "-keyout", f"{tmp_path}/{name}.key"]
        subprocess.run(
            [*command, "-out", f"{tmp_path}/{name}.pem"], check=True, capture_output=True
        )
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    with told_server(own, tmp_path / "own.key") as server:
        assert DicomWebServer(server.url, ca_file=own).series(STUDY) == []
        for trusted in (None, other):
            with pytest.raises(ServerError, match=r"signed it\. Give .* --trusted"):
                DicomWebServer(server.url, ca_file=trusted).series(STUDY)
        plain = server.url.replace("https", "http")
        with pytest.raises(ServerError, match="nobody answers"):
            DicomWebServer(plain).series(STUDY)
    with (
        told_server(other, tmp_path / "other.key") as server,
        pytest.raises(ServerError, match="it names another host"),
    ):
        DicomWebServer(server.url, ca_file=other).series(STUDY)
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"no\.pem: holds no certificates; expected PEM"):
        DicomWebServer("https://127.0.0.1", ca_file=tmp_path / "no.pem")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(ServerError, match="nobody answers, tried 3 times; check host and port"):
        DicomWebServer(f"http://127.0.0.1:{free_port()}/dicom-web").series(STUDY)


@pytest.mark.parametrize("url", ["pacs/dicom-web", "ftp://pacs", "http://", "https://pacs/a?b=c"])
def test_a_url_that_is_no_root_of_dicomweb_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL such as https://host/dicom-web"):
        checked_url(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="give --dicomweb-password") as refused:
        checked_url("https://me:secret@pacs/dicom-web")
    assert "secret" not in str(refused.value)
    assert is_unencrypted("http://pacs/dicom-web")
    assert not is_unencrypted("https://pacs/dicom-web")
    assert not is_unencrypted("http://localhost:8042/dicom-web")
