-- Wireshark dissector of the Holdfast sync link (sync/README.md describes the protocol).
--
-- Copy it into Wireshark's folder of personal Lua plugins (Help, About, Folders), or:
--
--   tshark -X lua_script:holdfast.lua -r link.pcap
--
-- UDP port 7400 (or "Decode As" HOLDFAST): the headers of the sealed datagrams.
-- UDP port 7401: plaintext batches, as `holdfast sync decode --key-log KEYS
-- --decrypted plain.pcapng link.pcap` writes them: every message, with what most say.

-- Types of messages and their names: those of sync/wire/batch.go (a test compares them).
local types = {
  [1] = "hello",
  [2] = "heartbeat",
  [3] = "announce",
  [4] = "goodbye",
  [5] = "ack",
  [6] = "nack",
  [7] = "lost",
  [8] = "update-request",
  [9] = "killed",
  [10] = "standing",
  [11] = "order",
  [12] = "answer",
  [13] = "fetch",
  [14] = "chunk",
  [15] = "ended",
  [16] = "insert",
  [17] = "update",
  [18] = "delete",
  [19] = "neighbor",
  [20] = "kill",
  [21] = "transfer-end",
  [22] = "ack-request",
  [23] = "table-change",
  [24] = "poison",
  [32] = "digest",
  [33] = "proof",
  [34] = "transfer-request",
  [35] = "table-sums",
  [36] = "table-request",
  [40] = "path",
  [41] = "vote-request",
  [42] = "vote",
}

local kinds = { [1] = "knock", [2] = "handshake1", [3] = "handshake2", [4] = "sealed" }
local batches = { [1] = "stream", [2] = "control" }

local sealed = Proto("holdfast", "Holdfast sync")
local s = {
  version = ProtoField.uint8("holdfast.version", "Version"),
  kind = ProtoField.uint8("holdfast.kind", "Kind", base.DEC, kinds),
  session = ProtoField.uint32("holdfast.session", "Session of the receiver", base.HEX),
  lane = ProtoField.uint16("holdfast.lane", "Lane"),
  counter = ProtoField.uint64("holdfast.counter", "Counter"),
  body = ProtoField.bytes("holdfast.body", "Body"),
}
sealed.fields = { s.version, s.kind, s.session, s.lane, s.counter, s.body }

function sealed.dissector(b, pinfo, tree)
  if b:len() < 16 or b(0, 2):string() ~= "HF" then return 0 end
  pinfo.cols.protocol = "HOLDFAST"
  local kind = b(3, 1):uint()
  local text = kinds[kind] or ("kind " .. kind)
  local t = tree:add(sealed, b(), "Holdfast sync, " .. text)
  t:add(s.version, b(2, 1))
  t:add(s.kind, b(3, 1))
  t:add(s.session, b(4, 4))
  t:add(s.lane, b(8, 2))
  t:add(s.counter, b(10, 6))
  if b:len() > 16 then t:add(s.body, b(16)) end
  if kind == 4 then
    text = text .. " lane " .. b(8, 2):uint() .. " counter " .. b(10, 6):uint64():tonumber()
  end
  pinfo.cols.info = text .. string.format(", session %08x, %d bytes", b(4, 4):uint(), b:len())
  return b:len()
end

local batch = Proto("holdfast_batch", "Holdfast sync, plaintext")
local p = {
  kind = ProtoField.uint8("holdfast_batch.kind", "Kind", base.DEC, batches),
  lane = ProtoField.uint16("holdfast_batch.lane", "Lane"),
  number = ProtoField.uint64("holdfast_batch.number", "Number"),
  type = ProtoField.uint8("holdfast_batch.type", "Type", base.DEC, types),
  flags = ProtoField.uint8("holdfast_batch.flags", "Flags", base.HEX),
  length = ProtoField.uint16("holdfast_batch.length", "Length"),
  body = ProtoField.bytes("holdfast_batch.body", "Body"),
  index = ProtoField.uint32("holdfast_batch.index", "Sender's index"),
  life = ProtoField.uint64("holdfast_batch.life", "Incarnation", base.HEX),
  life32 = ProtoField.uint32("holdfast_batch.life32", "Incarnation, low half", base.HEX),
  rule = ProtoField.uint32("holdfast_batch.rule", "Rule", base.HEX),
  proto = ProtoField.uint8("holdfast_batch.proto", "Protocol"),
  src4 = ProtoField.ipv4("holdfast_batch.src", "Source"),
  dst4 = ProtoField.ipv4("holdfast_batch.dst", "Destination"),
  src6 = ProtoField.ipv6("holdfast_batch.src6", "Source"),
  dst6 = ProtoField.ipv6("holdfast_batch.dst6", "Destination"),
  srcport = ProtoField.uint16("holdfast_batch.srcport", "Source port"),
  dstport = ProtoField.uint16("holdfast_batch.dstport", "Destination port"),
  node = ProtoField.uint16("holdfast_batch.node", "Node"),
  role = ProtoField.uint8("holdfast_batch.role", "Role", base.DEC, { [0] = "standby", [1] = "active" }),
  term = ProtoField.uint64("holdfast_batch.term", "Term"),
  boot = ProtoField.uint64("holdfast_batch.boot", "Boot", base.HEX),
  versions = ProtoField.bytes("holdfast_batch.versions", "Versions, lowest and highest"),
  first = ProtoField.uint64("holdfast_batch.first", "First"),
  last = ProtoField.uint64("holdfast_batch.last", "Last"),
  selector = ProtoField.string("holdfast_batch.selector", "Selector"),
  count = ProtoField.uint32("holdfast_batch.count", "Count"),
  round = ProtoField.uint32("holdfast_batch.round", "Round"),
  request = ProtoField.uint32("holdfast_batch.request", "Number of the request"),
  version = ProtoField.uint64("holdfast_batch.version", "Version of the change", base.HEX),
  table = ProtoField.string("holdfast_batch.table", "Table"),
  change = ProtoField.uint8("holdfast_batch.change", "Change", base.DEC, { [1] = "put", [2] = "drop", [3] = "clear" }),
  entry4 = ProtoField.ipv4("holdfast_batch.entry", "Entry"),
  entry6 = ProtoField.ipv6("holdfast_batch.entry6", "Entry"),
  bits = ProtoField.uint8("holdfast_batch.bits", "Length of the prefix"),
  left = ProtoField.uint64("holdfast_batch.left", "Left of its lifetime, ms"),
  age = ProtoField.uint64("holdfast_batch.age", "Age, ms"),
  generation = ProtoField.uint64("holdfast_batch.generation", "Generation"),
}
local fields = {}
for _, f in pairs(p) do fields[#fields + 1] = f end
batch.fields = fields

-- What a message says, by type: field, offset and length in the body.
local says = {
  [1] = { { p.versions, 0, 2 }, { p.node, 2, 2 }, { p.boot, 8, 8 } },
  [2] = { { p.node, 0, 2 }, { p.role, 2, 1 }, { p.term, 10, 8 } },
  [3] = { { p.term, 0, 8 }, { p.node, 10, 2 } },
  [4] = { { p.term, 0, 8 }, { p.node, 10, 2 } },
  [6] = { { p.lane, 0, 2 }, { p.first, 2, 8 }, { p.last, 10, 8 } },
  [7] = { { p.lane, 0, 2 }, { p.first, 2, 8 } },
  [8] = { { p.index, 0, 4 }, { p.life32, 4, 4 } },
  [9] = { { p.life, 0, 8 }, { p.count, 8, 4 } },
  [10] = { { p.generation, 0, 8 } },
  [11] = { { p.generation, 0, 8 } },
  [12] = { { p.generation, 0, 8 } },
  [16] = { { p.index, 0, 4 }, { p.life, 4, 8 }, { p.rule, 12, 4 }, { p.proto, 19, 1 } },
  [17] = { { p.index, 0, 4 }, { p.life32, 4, 4 } },
  [18] = { { p.index, 0, 4 }, { p.life32, 4, 4 } },
  [20] = { { p.life, 0, 8 } },
  [21] = { { p.request, 0, 4 }, { p.life, 4, 8 } },
  [23] = { { p.version, 0, 8 } },
  [32] = { { p.round, 0, 4 } },
  [33] = { { p.round, 0, 4 } },
  [34] = { { p.request, 0, 4 } },
  [35] = { { p.round, 0, 4 } },
}

-- The original tuple of an insert stands behind its 20 fixed bytes; flag 1 says IPv6.
local function tuple(t, b, flags)
  local n = 4
  local src, dst = p.src4, p.dst4
  if flags % 2 == 1 then n, src, dst = 16, p.src6, p.dst6 end
  if b:len() < 20 + 2 * n + 4 then return end
  t:add(src, b(20, n))
  t:add(dst, b(20 + n, n))
  t:add(p.srcport, b(20 + 2 * n, 2))
  t:add(p.dstport, b(22 + 2 * n, 2))
end

-- A change of a table: version, name, and of what is not cleared the entry, with what is left
-- of a put; flags 1 and 2 say which, flag 4 says IPv6.
local function change(t, b, flags)
  if b:len() < 9 then return end
  t:add(p.change, flags % 4)
  local at = 9 + b(8, 1):uint()
  if b:len() < at then return end
  t:add(p.table, b(9, at - 9))
  local n, entry = 4, p.entry4
  if flags % 8 >= 4 then n, entry = 16, p.entry6 end
  if flags % 4 == 3 or b:len() < at + 1 + n then return end
  t:add(p.bits, b(at, 1))
  t:add(entry, b(at + 1, n))
  at = at + 1 + n
  if flags % 4 ~= 1 or b:len() < at + 12 then return end
  t:add(p.left, b(at, 6))
  t:add(p.age, b(at + 6, 6))
  if b:len() >= at + 16 then t:add(p.rule, b(at + 12, 4)) end
end

function batch.dissector(b, pinfo, tree)
  if b:len() < 12 then return 0 end
  pinfo.cols.protocol = "HOLDFAST"
  local kind = b(0, 1):uint()
  local t = tree:add(batch, b(), "Holdfast sync, plaintext batch")
  t:add(p.kind, b(0, 1))
  local info = batches[kind] or ("kind " .. kind)
  if kind == 1 then
    t:add(p.lane, b(2, 2))
    t:add(p.number, b(4, 8))
    info = info .. " " .. b(2, 2):uint() .. "/" .. b(4, 8):uint64():tonumber()
  end
  local at = 12
  while at + 4 <= b:len() do
    local type, flags, length = b(at, 1):uint(), b(at + 1, 1):uint(), b(at + 2, 2):uint()
    local name = types[type] or ("type-" .. type)
    if at + 4 + length > b:len() then
      t:add_expert_info(PI_MALFORMED, PI_ERROR, "the batch ends before its message does")
      break
    end
    local m = t:add(batch, b(at, 4 + length), name)
    m:add(p.type, b(at, 1))
    m:add(p.flags, b(at + 1, 1))
    m:add(p.length, b(at + 2, 2))
    if length > 0 then
      local body = b(at + 4, length)
      for _, f in ipairs(says[type] or {}) do
        if f[2] + f[3] <= length then m:add(f[1], b(at + 4 + f[2], f[3])) end
      end
      if type == 16 then tuple(m, b(at + 4, length), flags) end
      if type == 23 then change(m, b(at + 4, length), flags) end
      if type == 20 and length > 8 then m:add(p.selector, b(at + 12, length - 8)) end
      m:add(p.body, body)
    end
    info = info .. " " .. name
    at = at + 4 + length
  end
  pinfo.cols.info = info
  return b:len()
end

DissectorTable.get("udp.port"):add(7400, sealed)
DissectorTable.get("udp.port"):add(7401, batch)
