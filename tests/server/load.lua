-- For wrk: POSTs the files BODIES/0.png, 1.png, ... in turn to the path that is being measured.
local bodies, headers, at = {}, { ["Content-Type"] = "image/png" }, 0

function init(arguments)
  local folder = arguments[1]
  while true do
    local file = io.open(folder .. "/" .. #bodies .. ".png", "rb")
    if not file then break end
    bodies[#bodies + 1] = file:read("*a")
    file:close()
  end
  assert(#bodies > 0, "no pictures in " .. folder)
end

function request()
  at = at % #bodies + 1
  return wrk.format("POST", nil, headers, bodies[at])
end
