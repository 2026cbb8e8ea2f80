// An origin on node's own HTTP/2, or HTTP/1.1 with --h1: resets and GOAWAY as node writes them.
// The query: do=reset.CODE|close|goaway.below, at=before|begun|middle|end, size=N, length=right|none.
'use strict';

const two = !process.argv.includes('--h1');
const { createServer } = two ? require('node:http2') : require('node:http');
const seen = new Map();

function misbehave(query, request, response) {
  const [how, code] = query.get('do').split('.');
  if (!two || how === 'close') {
    request.socket.destroySoon ? request.socket.destroySoon() : request.stream.session.destroy();
  } else if (how === 'reset') {
    request.stream.close(Number(code));
  } else {
    request.stream.session.goaway(0);
    response.end('x'.repeat(Number(query.get('size')) / 2));
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://origin');
  const query = url.searchParams;
  const id = query.get('id');
  if (url.pathname === '/seen') return response.end(String(seen.get(id) || 0));
  seen.set(id, (seen.get(id) || 0) + 1);
  const size = Number(query.get('size') || 1000);
  const body = Buffer.alloc(size, 'x');
  if (query.get('length') !== 'none') response.setHeader('content-length', size);
  const at = query.get('at');
  if (!query.has('do')) return response.end(body);
  if (at === 'before') return misbehave(query, request, response);
  response.writeHead(200);
  const part = { begun: 0, middle: size / 2, end: size }[at];
  const later = () => setTimeout(misbehave, 20, query, request, response);
  if (part === 0) {
    if (two) later();
    else response.flushHeaders(), later();
  } else {
    response.write(body.subarray(0, part), later);
  }
});
server.on('sessionError', () => {});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
