"""A collector of traces made of OpenTelemetry's official types: reads what OTLP brings, and prints it.

Its argument is the protocol, `http` or `grpc`; the latter is served by the official package of gRPC. Its first line is
its port. Then each request is a line of JSON: where it went, and the spans with their resources.
"""

import concurrent.futures
import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


def written(span):
    return {
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(span.attributes),
        "links": [
            {"trace": link.trace_id.hex(), "id": link.span_id.hex(), "attributes": attributes(link.attributes)}
            for link in span.links
        ],
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "message": span.status.message,
    }


def show(request, path, content_type, key):
    spans = [
        {**written(span), "resource": attributes(of_resource.resource.attributes)}
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]
    # One write per line, as threads print at the same time.
    sys.stdout.write(json.dumps({"path": path, "type": content_type, "key": key, "spans": spans}) + "\n")
    sys.stdout.flush()
    return ExportTraceServiceResponse()


class OverHttp(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        key = self.headers.get("x-collector-key")
        answer = show(request, self.path, self.headers["content-type"], key).SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class OverGrpc(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        sent = dict(context.invocation_metadata())
        if "x-collector-refuses" in sent:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not with this key")
        return show(request, "Export", "grpc", sent.get("x-collector-key"))


if sys.argv[1:] == ["grpc"]:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor())
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(OverGrpc(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OverHttp)
    print(server.server_address[1], flush=True)
    server.serve_forever()
