$ErrorActionPreference = "Stop"
$Token = '{{ placeholder }}'
if ($Token -notmatch '^[A-Za-z0-9._~+/=-]+$') {
  throw 'Put your token between the quotes of the line that begins with $Token, then run this again.'
}
$Folder = if ($env:CLAUDE_CONFIG_DIR) { $env:CLAUDE_CONFIG_DIR } else { Join-Path $env:USERPROFILE ".claude" }
$File = Join-Path $Folder "settings.json"
New-Item -ItemType Directory -Force -Path $Folder | Out-Null
$Wanted = @'
{{ environment }}
'@ | ConvertFrom-Json
$Wanted.ANTHROPIC_AUTH_TOKEN = $Token
$Before = if (Test-Path $File) { [System.IO.File]::ReadAllText($File) } else { "" }
$Settings = if ($Before.Trim()) { $Before | ConvertFrom-Json } else { New-Object PSObject }
if (-not $Settings.PSObject.Properties["env"]) {
  $Settings | Add-Member -NotePropertyName env -NotePropertyValue (New-Object PSObject)
}
foreach ($Entry in $Wanted.PSObject.Properties) {
  $Settings.env | Add-Member -NotePropertyName $Entry.Name -NotePropertyValue $Entry.Value -Force
}
$After = ($Settings | ConvertTo-Json -Depth 32) + "`n"
if ($After -ceq $Before) {
  Write-Host "{{ brand.provider_name }} is set up already in $File."
} else {
  if ($Before) {
    $Backup = "$File.backup.$((Get-Date).ToString('yyyyMMddHHmmssfff'))"
    Copy-Item $File $Backup
    Write-Host "Your settings from before are kept as $Backup."
  }
  [System.IO.File]::WriteAllText($File, $After, (New-Object System.Text.UTF8Encoding($false)))
  Write-Host "{{ brand.provider_name }} is set up in $File. Start with: claude"
}
