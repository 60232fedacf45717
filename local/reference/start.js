// Shows the description in Scalar, with everything off that would call Scalar's own hosts.
Scalar.createApiReference("#reference", {
  url: "/openapi.yaml",
  telemetry: false,
  withDefaultFonts: false,
  showDeveloperTools: "never",
  hideClientButton: true,
  agent: { disabled: true },
  mcp: { disabled: true },
  documentDownloadType: "direct",
});
