"""The few S3 calls that move the bytes of objects: PUT, multipart upload, HEAD, ranged GET.

Everything else of S3 stays with botocore (`_s3.py`). Each call is one request; whether a repetition can help is told by
`StorageError.retryable`. Integrity: the store verifies our checksum of each body, and says so in its answer; to one
that does not, the SHA-256 of the body is signed instead, which every S3 server verifies.
"""

from __future__ import annotations

import hashlib
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

from paceline.storage import _s3_errors, checksum
from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._http import Answer, Body, Connections, NoAnswerError, Sink, Slice, chunks
from paceline.storage._s3_place import Place
from paceline.storage._s3_sign import EMPTY_SHA256, UNSIGNED, Credentials, Signer, encode_path, encode_query

# Less than the 15 minutes that stores allow: a larger difference is worth a correction.
_SKEW_S = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of an object. A sum is of the whole object, and None where the store has none like ours."""

    size: int
    etag: str
    sum: int | None


@dataclass(frozen=True, slots=True)
class Multipart:
    """An upload in parts that was begun."""

    key: str
    id: str
    summed: bool  # the store verifies our sums of parts
    whole_sum: bool  # and joins them to one of the whole


@dataclass(frozen=True, slots=True)
class Part:
    """One that the store has."""

    number: int
    etag: str
    sum: int
    length: int


class Objects:
    """Of one bucket. Safe to use from several threads."""

    def __init__(self, bucket: str, place: Place, credentials: Callable[[], Credentials]) -> None:
        self._bucket = bucket
        self._place = place
        self._credentials = credentials
        self._connections = Connections(place.address)
        self._signer = Signer(place.region, place.service)
        self._lock = threading.Lock()
        self._clock_offset_s = 0.0
        self._verifies_sums = True  # until an answer shows otherwise
        self._kind = checksum.best()
        self._sum_header = f"x-amz-checksum-{self._kind.name}"

    @property
    def kind(self) -> checksum.Kind:
        """Of the sums that are given and returned."""
        return self._kind

    def put(self, key: str, body: Body) -> bool:
        """Store an object in one request; True when the store has confirmed its sum."""
        summed = self._verifies_sums
        headers = {self._sum_header: _encoded(body.sum)} if summed else {}
        answer = self._ask("upload", "PUT", key, {}, headers, body.slice, summed=summed)
        return self._confirmed(answer, body, summed)

    def begin(self, key: str) -> Multipart:
        """Begin an upload in parts."""
        headers = {"x-amz-checksum-algorithm": self._kind.name.upper(), "x-amz-checksum-type": "FULL_OBJECT"}
        answer = self._ask("upload", "POST", key, {"uploads": ""}, headers)
        told = answer.headers.get("x-amz-checksum-algorithm", "").lower() == self._kind.name
        whole = told and answer.headers.get("x-amz-checksum-type", "").upper() == "FULL_OBJECT"
        return Multipart(key, self._field(answer, key, "UploadId"), told, whole)

    def put_part(self, upload: Multipart, number: int, body: Body) -> Part:
        """Store one part; a part of the same number that is there is replaced."""
        query = {"partNumber": str(number), "uploadId": upload.id}
        headers = {self._sum_header: _encoded(body.sum)} if upload.summed else {}
        answer = self._ask("upload", "PUT", upload.key, query, headers, body.slice, summed=upload.summed)
        return Part(number, answer.headers.get("ETag", ""), body.sum, body.slice.length)

    def complete(self, upload: Multipart, parts: Sequence[Part]) -> bool:
        """Make the parts an object; True when the store has confirmed the sum of the whole.

        A repeated call whose first answer was lost finds no upload any more; the object itself then tells.
        """
        size = sum(part.length for part in parts)
        whole = self._kind.join((part.sum, part.length) for part in parts)
        headers = {"x-amz-mp-object-size": str(size)}
        if upload.whole_sum:
            headers |= {self._sum_header: _encoded(whole), "x-amz-checksum-type": "FULL_OBJECT"}
        query = {"uploadId": upload.id}
        try:
            answer = self._ask("upload", "POST", upload.key, query, headers, self._parts_xml(upload, parts))
        except _s3_errors.NoSuchUploadError:
            if self._is_there(upload.key, size, whole, parts):
                return True
            raise
        # An error can also come with status 200, when it happens after the answer was begun.
        self._field(answer, upload.key, "ETag")
        return upload.whole_sum

    def abort(self, upload: Multipart) -> None:
        """Forget the parts."""
        self._ask("abort the upload of", "DELETE", upload.key, {"uploadId": upload.id}, {})

    def head(self, key: str) -> Stored:
        """Size and sums."""
        answer = self._ask("read", "HEAD", key, {}, {"x-amz-checksum-mode": "ENABLED"})
        return Stored(int(answer.headers.get("Content-Length", "0")), answer.headers.get("ETag", ""), self._sum(answer))

    def get(self, key: str, offset: int, length: int | None, sink: Sink) -> Stored:
        """Give the bytes from `offset` to `sink` as they come: `length` of them, None for the whole object.

        A failure in the middle leaves what came before with the sink.
        """
        headers = {"x-amz-checksum-mode": "ENABLED"}
        if length is not None:
            headers = {"range": f"bytes={offset}-{offset + length - 1}"}
        answer = self._ask("download", "GET", key, {}, headers, sink=sink)
        size = int(answer.headers.get("Content-Length", "0"))
        if length is not None:
            if answer.status != 206:
                raise StorageError(f"cannot download {self._name(key)}: the store ignores the Range of a request")
            size = int(answer.headers.get("Content-Range", "/0").rpartition("/")[2])
        return Stored(size, answer.headers.get("ETag", ""), self._sum(answer) if length is None else None)

    def _ask(
        self,
        action: str,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | Slice = b"",
        *,
        sink: Sink | None = None,
        summed: bool = True,
    ) -> Answer:
        path = encode_path(self._place.prefix + key)
        target = f"{path}?{encode_query(query)}" if query else path
        for corrected in (False, True):
            asked = {"host": self._place.address.host_header, **headers}
            payload = _payload(body, summed or self._place.address.secure)
            now_s = time.time() + self._clock_offset_s
            self._signer.sign(method, path, query, asked, payload, self._credentials(), now_s)
            try:
                answer = self._connections.request(method, target, asked, body, sink)
            except NoAnswerError as e:
                where = self._place.address.host_header
                raise StorageError(f"cannot {action} {self._name(key)}: {e} ({where})", retryable=True) from e
            if 200 <= answer.status < 300:
                return answer
            code, said = _words(answer)
            if corrected or code != "RequestTimeTooSkewed" or not self._correct_clock(answer):
                raise _s3_errors.refused(f"cannot {action} {self._name(key)}", answer.status, code, said)
        raise AssertionError("the second try returns or raises")

    def _correct_clock(self, answer: Answer) -> bool:
        """Go by the store's clock from now on, where ours is far from it."""
        try:
            theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
        except ValueError:
            return False
        offset = theirs - time.time()
        with self._lock:
            far = abs(offset - self._clock_offset_s) > _SKEW_S
            self._clock_offset_s = offset
        return far

    def _confirmed(self, answer: Answer, body: Body, summed: bool) -> bool:
        told = answer.headers.get(self._sum_header)
        if told is None and summed:
            # It ignored the sum: from now on it gets a signed SHA-256, which costs us more.
            self._verifies_sums = False
        return told == _encoded(body.sum)

    def _sum(self, answer: Answer) -> int | None:
        told = answer.headers.get(self._sum_header, "")
        if answer.headers.get("x-amz-checksum-type", "FULL_OBJECT").upper() != "FULL_OBJECT" or "-" in told:
            return None
        try:
            return int.from_bytes(b64decode(told, validate=True), "big") if told else None
        except ValueError:
            return None

    def _is_there(self, key: str, size: int, whole: int, parts: Sequence[Part]) -> bool:
        try:
            there = self.head(key)
        except StorageNotFoundError:
            return False
        if there.size != size:
            return False
        # Another object of the same size may have been there before: sums or the parts' entity tag tell.
        return there.sum == whole if there.sum is not None else there.etag == _joined_etag(parts)

    def _field(self, answer: Answer, key: str, name: str) -> str:
        try:
            root = ElementTree.fromstring(answer.body)
        except ElementTree.ParseError:
            root = None
        if root is not None and (value := _child(root, name)):
            return value
        code, said = _words(answer)
        if code == str(answer.status):
            code, said = "InternalError", "the answer of the store cannot be understood"
        raise _s3_errors.refused(f"cannot upload {self._name(key)}", 500, code, said)

    def _parts_xml(self, upload: Multipart, parts: Sequence[Part]) -> bytes:
        tag = f"Checksum{self._kind.name.upper()}"
        root = ElementTree.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for part in parts:
            item = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(item, "PartNumber").text = str(part.number)
            ElementTree.SubElement(item, "ETag").text = part.etag
            if upload.summed:
                ElementTree.SubElement(item, tag).text = _encoded(part.sum)
        return ElementTree.tostring(root)

    def _name(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


def _payload(body: bytes | Slice, summed: bool) -> str:
    """What the signature covers of the body."""
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
    if summed:
        return UNSIGNED
    digest = hashlib.sha256()
    for data in chunks(body):
        digest.update(data)
    return digest.hexdigest()


def _encoded(value: int) -> str:
    return b64encode(value.to_bytes(4, "big")).decode()


def _joined_etag(parts: Sequence[Part]) -> str:
    try:
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts), usedforsecurity=False)
    except ValueError:
        return ""
    return f'"{digest.hexdigest()}-{len(parts)}"'


def _words(answer: Answer) -> tuple[str, str]:
    """Code and message of an error, and what the headers add to them."""
    code, said = "", ""
    try:
        root = ElementTree.fromstring(answer.body)
        code, said = _child(root, "Code"), _child(root, "Message").strip().rstrip(".")
    except ElementTree.ParseError:
        pass
    code = code or str(answer.status)
    if code == "RequestTimeTooSkewed" and (date := answer.headers.get("Date")):
        said = f"{said}; the store's clock says {date}"
    if answer.status < 500 and (region := answer.headers.get("x-amz-bucket-region")):
        said = f"{said} (the bucket lies in {region})" if answer.status in (301, 307, 400) else said
    return code, said


def _child(root: ElementTree.Element, name: str) -> str:
    """Text of a direct child, whatever its namespace."""
    for child in root:
        if child.tag.rpartition("}")[2] == name:
            return child.text or ""
    return ""
