-- Permissions that Envoy itself remembers, so that a warm request asks nobody: per worker thread, for the seconds that the authoriser
-- names, and never a refusal. The key is the endpoint and the caller's whole Authorization. A request that is let through here gets the
-- very headers that the authoriser would have set; ext_authz sees the metadata and stands aside.
local MOST = 10000
local verdicts, count = {}, 0

local function forget()
  local now = os.time()
  for key, verdict in pairs(verdicts) do
    if verdict.ends <= now then
      verdicts[key] = nil
      count = count - 1
    end
  end
  if count >= MOST then -- all are in use: begin anew rather than grow
    verdicts, count = {}, 0
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authorization, path = headers:get("authorization"), headers:get(":path")
  if authorization == nil or path == nil then
    return
  end
  local prefix = path:match("^/api/v2/endpoints/%l+/%x+")
  if prefix == nil then
    return
  end
  local key = prefix .. " " .. authorization
  local verdict = verdicts[key]
  if verdict ~= nil and handle:timestamp() < verdict.ends_ms then
    headers:remove("authorization")
    headers:replace("x-roadstead-cluster", verdict.cluster)
    headers:replace("x-roadstead-user", verdict.user)
    headers:replace("x-forwarded-prefix", prefix)
    handle:streamInfo():dynamicMetadata():set("roadstead", "known", true)
    return
  end
  handle:streamInfo():dynamicMetadata():set("roadstead", "key", key)
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local asked = metadata:get("roadstead")
  if asked == nil or asked["key"] == nil then
    return
  end
  local said = metadata:get("envoy.filters.http.ext_authz")
  if said == nil or said["x-roadstead-verdict-seconds"] == nil or said["x-roadstead-cluster"] == nil then
    return
  end
  if count >= MOST then
    forget()
  end
  local seconds = tonumber(said["x-roadstead-verdict-seconds"])
  local now = handle:timestamp()
  if verdicts[asked["key"]] == nil then
    count = count + 1
  end
  -- From when the answer passes here; what it took is part of no verdict's life, since rights are asked for anew soon enough.
  verdicts[asked["key"]] = {
    cluster = said["x-roadstead-cluster"],
    user = said["x-roadstead-user"] or "",
    ends_ms = now + seconds * 1000,
    ends = os.time() + math.ceil(seconds),
  }
end
