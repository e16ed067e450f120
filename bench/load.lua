-- The load: tools/call with ids and texts used once, every answer checked. One table of pending ids for each
-- wrk thread: with one thread an answer must carry an id that is under way and the text of that id; with as many
-- threads as connections (the check pass) it must be the answer to this very connection's call.
-- Settings come from the environment (no token on a command line): BENCH_TOOL, BENCH_TOKEN, BENCH_SESSION.

local threads = {}

function setup(thread)
  -- Ten digits and below 2^31, so that every body has the same length and numbers stay integers in LuaJIT.
  thread:set("last", 1000000000 + #threads * 30000000)
  table.insert(threads, thread)
end

local pending = {}
local before, between, after

function init(args)
  local tool, token, session = os.getenv("BENCH_TOOL"), os.getenv("BENCH_TOKEN"), os.getenv("BENCH_SESSION")
  answered, wrong, refused, first_wrong = 0, 0, 0, ""
  local body_start = '{"jsonrpc":"2.0","id":'
  between = ',"method":"tools/call","params":{"name":"' .. tool .. '","arguments":{"text":"the text of call '
  after = '"}}}'
  local length = #body_start + 10 + #between + 10 + #after
  local lines = {
    "POST " .. wrk.path .. " HTTP/1.1",
    "Host: " .. wrk.host .. ":" .. wrk.port,
    "Content-Type: application/json",
    "Accept: application/json, text/event-stream",
    "MCP-Protocol-Version: 2025-11-25",
    "Content-Length: " .. length,
  }
  if token then table.insert(lines, "Authorization: Bearer " .. token) end
  if session then table.insert(lines, "Mcp-Session-Id: " .. session) end
  before = table.concat(lines, "\r\n") .. "\r\n\r\n" .. body_start
end

function request()
  last = last + 1
  pending[last] = true
  return before .. last .. between .. last .. after
end

local find = string.find

function response(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
    if first_wrong == "" then first_wrong = "HTTP " .. status .. ": " .. body end
    return
  end
  answered = answered + 1
  local _, _, digits = find(body, '"id":%s?(%d+)')
  local id = tonumber(digits)
  if id and pending[id] and find(body, '"the text of call ' .. digits .. '"', 1, true) then
    pending[id] = nil
  else
    wrong = wrong + 1
    if first_wrong == "" then first_wrong = body end
  end
end

-- One line of figures for the harness, in the words of wrk's own summary.
function done(summary, latency, requests)
  local sum = { answered = 0, wrong = 0, refused = 0 }
  local example = ""
  for _, thread in ipairs(threads) do
    for name in pairs(sum) do sum[name] = sum[name] + thread:get(name) end
    if example == "" then example = thread:get("first_wrong") end
  end
  local errors = summary.errors
  local figures = string.format(
    "duration_us=%d answered=%d wrong=%d refused=%d connect=%d read=%d write=%d timeout=%d p50_us=%d p99_us=%d max_us=%d",
    summary.duration, sum.answered, sum.wrong, sum.refused, errors.connect, errors.read, errors.write,
    errors.timeout, latency:percentile(50), latency:percentile(99), latency.max)
  io.write("bench: ", figures, "\n")
  if example ~= "" then io.write("bench-example: ", (example:sub(1, 300):gsub("%c", " ")), "\n") end
end
